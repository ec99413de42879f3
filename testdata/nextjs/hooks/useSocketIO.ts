'use client';

import { useCallback, useEffect, useRef, useState } from 'react';
import { useBackend } from '@/lib/backend';
import type { MessageEvent, NotificationEvent, TypingEvent } from '@/lib/rows';

// How often a sign of typing is repeated while somebody types, and how long after the last keystroke it is taken back.
const repeatTyping = 2_000;
const typingPause = 3_000;

export interface Notification {
  id: string;
  conversationId: string;
  content: string;
}

type Typists = Record<string, Record<string, string>>; // conversation → user → name

interface Ack {
  success: boolean;
  error?: string;
}

// useSocketIO keeps a tab in the rooms of its distributor and of one open conversation, and gives what happens there:
// who is online, who types, what customers write in conversations that are not open, and what colleagues ask of the user.
export function useSocketIO(distributorId: string, openConversation: string | null) {
  const { socket } = useBackend();
  const [onlineUsers, setOnlineUsers] = useState<string[]>([]);
  const [notifications, setNotifications] = useState<Notification[]>([]);
  const [typists, setTypists] = useState<Typists>({});
  const [refusal, setRefusal] = useState<string | null>(null);
  const open = useRef(openConversation);
  const typing = useRef<{ conversation: string; last: number; pause: ReturnType<typeof setTimeout> } | null>(null);

  const ask = useCallback(
    (event: string, id: string) => socket.emit(event, id, (ack: Ack) => setRefusal(ack.success ? null : (ack.error ?? event))),
    [socket],
  );

  useEffect(() => {
    const forget = (conversationId: string, userId: string) =>
      setTypists(({ [conversationId]: { [userId]: _, ...others } = {}, ...rest }) => ({ ...rest, [conversationId]: others }));
    const listeners = {
      connect: () => {
        ask('join_distributor', distributorId);
        if (open.current) ask('join_conversation', open.current);
      },
      disconnect: () => {
        setTypists({});
        setOnlineUsers([]);
      },
      online_users: (users: string[]) => setOnlineUsers(users),
      user_online: ({ userId }: { userId: string }) => setOnlineUsers((users) => [...users.filter((id) => id !== userId), userId]),
      user_offline: ({ userId }: { userId: string }) => setOnlineUsers((users) => users.filter((id) => id !== userId)),
      user_typing: ({ conversationId, userId, userName, isTyping }: TypingEvent) => {
        if (!isTyping) forget(conversationId, userId);
        else setTypists((known) => ({ ...known, [conversationId]: { ...known[conversationId], [userId]: userName } }));
      },
      user_stopped_typing: ({ conversationId, userId }: TypingEvent) => forget(conversationId, userId),
      new_message: ({ id, conversationId, content, isFromCustomer }: MessageEvent) => {
        if (!isFromCustomer || conversationId === open.current) return;
        setNotifications((known) => [...known, { id, conversationId, content }]);
      },
      notification: ({ id, conversationId, message }: NotificationEvent) =>
        setNotifications((known) => [...known, { id, conversationId, content: message }]),
    };
    for (const [event, listener] of Object.entries(listeners)) socket.on(event, listener);
    socket.connect();
    return () => {
      for (const [event, listener] of Object.entries(listeners)) socket.off(event, listener);
      socket.disconnect();
    };
  }, [socket, distributorId, ask]);

  const stopTyping = useCallback(() => {
    if (!typing.current) return;
    clearTimeout(typing.current.pause);
    if (socket.connected) socket.emit('typing_stop', { conversationId: typing.current.conversation });
    typing.current = null;
  }, [socket]);

  const startTyping = useCallback(
    (conversationId: string) => {
      if (typing.current && typing.current.conversation !== conversationId) stopTyping();
      const now = Date.now();
      const last = typing.current?.last ?? 0;
      if (typing.current) clearTimeout(typing.current.pause);
      if (now - last >= repeatTyping && socket.connected) socket.emit('typing_start', { conversationId });
      typing.current = {
        conversation: conversationId,
        last: now - last >= repeatTyping ? now : last,
        pause: setTimeout(stopTyping, typingPause),
      };
    },
    [socket, stopTyping],
  );

  useEffect(() => {
    open.current = openConversation;
    if (!openConversation) return;
    setNotifications((known) => known.filter((each) => each.conversationId !== openConversation));
    if (socket.connected) ask('join_conversation', openConversation);
    return () => {
      stopTyping();
      if (socket.connected) socket.emit('leave_conversation', openConversation);
    };
  }, [socket, openConversation, ask, stopTyping]);

  const getTypingUsers = useCallback((conversationId: string) => Object.values(typists[conversationId] ?? {}), [typists]);

  const dismiss = useCallback((id: string) => setNotifications((known) => known.filter((each) => each.id !== id)), []);

  return { onlineUsers, notifications, dismiss, refusal, startTyping, stopTyping, getTypingUsers };
}
