// Rows as PostgREST gives them, and messages as the Socket.IO server names their fields.

export interface MessageRow {
  id: string;
  conversation_id: string;
  content: string;
  is_from_customer: boolean;
  status: string;
  created_at: string;
  updated_at: string;
}

export interface ConversationRow {
  id: string;
  distributor_id: string;
  customer_name: string | null;
  last_message_at: string | null;
}

export interface UserRow {
  id: string;
  name: string;
}

// What new_message carries. The inbox reads only these of its fields.
export interface MessageEvent {
  id: string;
  conversationId: string;
  content: string;
  isFromCustomer: boolean;
}

export interface NotificationEvent {
  id: string;
  conversationId: string;
  message: string;
}

export interface TypingEvent {
  conversationId: string;
  userId: string;
  userName: string;
  isTyping: boolean;
}
