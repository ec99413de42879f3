// What the page knows: conversations, messages, who is typing and who is online. Rows come from REST and from events, in any
// order and perhaps twice; the views are told after each change and read what they need.

const typingLasts = 8000; // milliseconds, in case the word that it stopped got lost with a connection

export class Inbox {
  conversations = new Map(); // rows by id
  online = new Set(); // ids of users
  lastSeen = new Map(); // times by id of user
  openID = null; // the conversation on screen

  #messages = new Map(); // rows by id
  #events = 0; // counts what events did to messages
  #touched = new Map(); // that count by id of message, since the last load
  #loaded = 0; // the moment of the last load
  #typing = new Map(); // `conversation user` → { conversation, user, name, timer }
  #changed;

  // changed is called after changes, once for all that were made in one go.
  constructor(changed) {
    let asked = false;
    this.#changed = () => {
      if (asked) return;
      asked = true;
      queueMicrotask(() => {
        asked = false;
        changed();
      });
    };
  }

  // moment is a point in the order of events; ask for it before asking REST, and give it to load with the answer.
  moment() {
    return this.#events;
  }

  // load takes the answer of REST to a question asked at a moment. It replaces what we knew, except for messages that an event
  // touched since then, or that are still on their way to the server. An answer that a later one has overtaken is dropped.
  load(conversations, messages, moment) {
    if (moment < this.#loaded) return;
    this.#loaded = moment;
    const touched = (id) => this.#touched.get(id) > moment;
    const keep = [...this.#messages.values()].filter((row) => row.sending || row.failed || touched(row.id));
    this.conversations = new Map(conversations.map((row) => [row.id, row]));
    this.#messages = new Map(messages.filter((row) => !touched(row.id)).map((row) => [row.id, row]));
    for (const row of keep) if (!this.#messages.has(row.id)) this.#messages.set(row.id, row);
    for (const id of this.#touched.keys()) if (!touched(id)) this.#touched.delete(id);
    this.#changed();
  }

  open(id) {
    this.openID = id;
    this.#changed();
  }

  setConversation(row) {
    this.conversations.set(row.id, { ...this.conversations.get(row.id), ...row });
    this.#changed();
  }

  // setMessage adds a row or changes one; columns that are missing stay as they were.
  setMessage(row) {
    const before = this.#messages.get(row.id);
    if (before && newer(before, row)) return;
    this.#touched.set(row.id, ++this.#events);
    const { sending, failed, ...stored } = before ?? {};
    this.#messages.set(row.id, { ...stored, ...row });
    this.#changed();
  }

  setStatus(id, status, timestamp) {
    const row = this.#messages.get(id);
    if (!row || (timestamp && newer(row, { updated_at: timestamp }))) return;
    this.#touched.set(id, ++this.#events);
    row.status = status;
    this.#changed();
  }

  fail(id) {
    const row = this.#messages.get(id);
    if (!row?.sending) return; // it has arrived all the same
    this.#messages.set(id, { ...row, sending: false, failed: true });
    this.#changed();
  }

  removeMessage(id) {
    this.#touched.set(id, ++this.#events);
    if (this.#messages.delete(id)) this.#changed();
  }

  setTyping(conversation, user, name, isTyping) {
    const key = `${conversation} ${user}`;
    clearTimeout(this.#typing.get(key)?.timer);
    this.#typing.delete(key);
    if (isTyping) {
      const timer = setTimeout(() => this.setTyping(conversation, user, name, false), typingLasts);
      this.#typing.set(key, { conversation, user, name, timer });
    }
    this.#changed();
  }

  // disconnected forgets what only a connection can tell: who types and who is online.
  disconnected() {
    for (const { timer } of this.#typing.values()) clearTimeout(timer);
    this.#typing.clear();
    this.online.clear();
    this.#changed();
  }

  setOnline(user, isOnline, lastSeen) {
    if (isOnline) this.online.add(user);
    else this.online.delete(user);
    if (lastSeen) this.lastSeen.set(user, lastSeen);
    this.#changed();
  }

  setEverybodyOnline(users) {
    this.online = new Set(users);
    this.#changed();
  }

  typingIn(conversation) {
    return [...this.#typing.values()].filter((entry) => entry.conversation === conversation).map((entry) => entry.name);
  }

  // messagesOf gives a conversation's messages, oldest first.
  messagesOf(conversation) {
    return [...this.#messages.values()]
      .filter((row) => row.conversation_id === conversation)
      .sort((a, b) => Date.parse(a.created_at) - Date.parse(b.created_at));
  }

  message(id) {
    return this.#messages.get(id);
  }

  unreadOf(conversation) {
    return this.messagesOf(conversation).filter(isUnread);
  }

  get unreadCount() {
    return [...this.#messages.values()].filter(isUnread).length;
  }

  // overview gives the conversations, the one with the newest message first.
  overview() {
    return [...this.conversations.values()]
      .map((row) => {
        const messages = this.messagesOf(row.id);
        const last = messages.at(-1);
        const unread = messages.filter(isUnread).length;
        return { ...row, name: nameOf(row), last, unread, typing: this.typingIn(row.id) };
      })
      .sort((a, b) => time(b) - time(a));
  }
}

const isUnread = (message) => message.is_from_customer && message.status !== 'READ';

// nameOf is what a conversation is called: by its customer.
export const nameOf = (conversation) => conversation.customer_name || conversation.customer_phone || 'Unknown customer';

const time = (conversation) => Date.parse(conversation.last?.created_at ?? conversation.last_message_at ?? 0) || 0;

// newer tells whether a row we have is a later version than another.
const newer = (have, other) => Date.parse(have.updated_at) > Date.parse(other.updated_at);
