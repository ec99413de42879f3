// The page: signs in as one of the sample users, reads the lists from Supabase, and keeps them current by the bridge's events.
import { byID, dress, element } from './dom.js';
import { Inbox } from './inbox.js';
import { List } from './list.js';
import { Rest } from './rest.js';
import { Socket } from './socket.js';
import { Thread } from './thread.js';

const retryAfter = 3000; // milliseconds until a list that could not be read is asked for again

class Page {
  #session; // { supabaseUrl, anonKey, users }, renewed before each connection
  #me;
  #loading = 0; // timer of the next attempt to read the lists
  #marked = new Set(); // ids of the messages we have asked to be marked read

  async start() {
    this.#session = await session();
    const wanted = new URLSearchParams(location.search);
    this.#me = this.#session.users.find((user) => user.id === wanted.get('user')) ?? this.#session.users[0];
    this.#showUsers();

    this.inbox = new Inbox(() => this.#render());
    this.rest = new Rest(() => ({ ...this.#session, token: this.#me.token }));
    this.list = new List(this.inbox, this.#me, this.#colleagues(), (id) => this.#open(id));
    this.thread = new Thread(this.inbox, {
      send: (text) => this.#send(newMessage(this.inbox.openID, text)),
      retry: (id) => this.#send({ ...this.inbox.message(id), created_at: new Date().toISOString() }),
      typing: (isTyping) => this.#type(isTyping),
      back: () => this.#show('list'),
    });
    this.#connect();
    this.#listen();
    document.addEventListener('visibilitychange', () => this.#render());
    await this.#load(); // to show something at once, bridge or not; #enter reads again once nothing can slip through
    const first = wanted.get('conversation');
    if (first && this.inbox.conversations.has(first)) this.#open(first);
  }

  #connect() {
    this.socket = new Socket(location.href, async () => {
      this.#session = await session();
      this.#me = this.#session.users.find((user) => user.id === this.#me.id) ?? this.#me;
      return { token: this.#me.token };
    });
    this.socket.onState((state, reason) => {
      const pill = byID('connection');
      pill.dataset.state = state;
      pill.textContent = { live: 'Live', refused: 'Refused', closed: 'Offline' }[state] ?? 'Reconnecting';
      if (state === 'live') this.#enter();
      else this.inbox.disconnected();
      problem('connection', state === 'refused' ? `The bridge did not accept the sign-in: ${reason}. Trying again.` : '');
    });
  }

  // Rooms end with a connection, and rows committed in between were not sent to us: join again and read again.
  async #enter() {
    try {
      if (this.inbox.openID) this.#join(this.inbox.openID);
      const joined = await this.socket.ask('join_distributor', { distributorId: this.#me.tenant });
      if (!joined?.success) throw new Error(`The bridge did not let us into ${this.#me.tenantName}: ${joined?.error}.`);
      const online = await this.socket.ask('get_online_users');
      if (Array.isArray(online)) this.inbox.setEverybodyOnline(online);
      problem('rooms', '');
      problem('event', '');
    } catch (error) {
      if (this.socket.state === 'live') problem('rooms', error.message);
    }
    await this.#load();
  }

  #listen() {
    const on = (name, handler) => this.socket.on(name, handler);
    const message = (payload) => {
      if (!this.inbox.conversations.has(payload.conversation_id)) this.#load();
      this.inbox.setMessage(payload);
    };
    on('new_message', message);
    on('message_updated', message);
    on('message_status_update', ({ id, status, timestamp }) => this.inbox.setStatus(id, status, timestamp));
    on('message_deleted', ({ id }) => this.inbox.removeMessage(id));
    on('messages_read', ({ messageIds }) => messageIds?.forEach((id) => this.inbox.setStatus(id, 'READ')));
    on('new_conversation', () => this.#load());
    on('conversation_updated', (payload) => this.inbox.setConversation(payload));
    on('user_typing', ({ conversationId, userId, userName, isTyping }) => {
      const known = this.#session.users.find((user) => user.id === userId);
      this.inbox.setTyping(conversationId, userId, known?.name ?? userName ?? 'Somebody', isTyping);
    });
    on('user_online', ({ userId }) => this.inbox.setOnline(userId, true));
    on('user_offline', ({ userId, lastSeen }) => this.inbox.setOnline(userId, false, lastSeen));
    on('presence_update', ({ userId, isOnline, lastSeen }) => this.inbox.setOnline(userId, isOnline, lastSeen));
    on('online_users', (users) => this.inbox.setEverybodyOnline(users));
    on('error', ({ message: text }) => problem('event', text));
  }

  async #load() {
    clearTimeout(this.#loading);
    const moment = this.inbox.moment();
    try {
      const [conversations, messages] = await Promise.all([this.rest.conversations(), this.rest.messages()]);
      this.inbox.load(conversations, messages, moment);
      problem('lists', '');
    } catch (error) {
      problem('lists', `The conversations could not be read. ${error.message} Trying again.`);
      this.#loading = setTimeout(() => this.#load(), retryAfter);
    }
  }

  #open(id) {
    const before = this.inbox.openID;
    this.#show('thread');
    if (id === before) return;
    if (before) this.socket.emit('leave_conversation', { conversationId: before });
    this.inbox.open(id);
    this.#address({ conversation: id });
    this.#join(id);
  }

  async #join(id) {
    if (this.socket.state !== 'live') return; // #enter joins
    try {
      const joined = await this.socket.ask('join_conversation', { conversationId: id });
      problem('join', joined?.success ? '' : `The bridge did not let us into this conversation: ${joined?.error}.`);
    } catch {
      // The connection was lost meanwhile; #enter joins again.
    }
  }

  async #send(message) {
    this.inbox.setMessage({ ...message, sending: true });
    const { id, conversation_id, content, is_from_customer, message_type, status } = message;
    try {
      await this.rest.write({ id, conversation_id, content, is_from_customer, message_type, status });
      const { sending, ...stored } = this.inbox.message(id);
      this.inbox.setMessage(stored);
      problem('send', '');
    } catch (error) {
      this.inbox.fail(id);
      problem('send', `The message was not sent. ${error.message}`);
    }
  }

  #type(isTyping) {
    this.socket.emit(isTyping ? 'typing_start' : 'typing_stop', { conversationId: this.inbox.openID });
  }

  #render() {
    this.list.render();
    this.thread.render();
    this.#markRead();
    const { unreadCount } = this.inbox;
    document.title = `${unreadCount ? `(${unreadCount}) ` : ''}Inbox · supabridge sample`;
  }

  // What is on the screen of somebody who looks at it has been read.
  async #markRead() {
    const { openID } = this.inbox;
    if (!openID || document.visibilityState !== 'visible') return;
    const messageIds = this.inbox.unreadOf(openID).map((row) => row.id).filter((id) => !this.#marked.has(id));
    if (messageIds.length === 0) return;
    for (const id of messageIds) this.#marked.add(id);
    try {
      await this.rest.markRead(messageIds);
      this.socket.emit('mark_read', { conversationId: openID, messageIds });
      for (const id of messageIds) this.inbox.setStatus(id, 'READ');
    } catch (error) {
      problem('read', `The messages could not be marked as read. ${error.message}`);
    } finally {
      for (const id of messageIds) this.#marked.delete(id);
    }
  }

  #colleagues() {
    return this.#session.users.filter((user) => user.tenant === this.#me.tenant);
  }

  #showUsers() {
    dress(byID('my-avatar'), this.#me.name);
    byID('tenant').textContent = this.#me.tenantName;
    const select = byID('user');
    const groups = new Map();
    for (const user of this.#session.users) {
      if (!groups.has(user.tenant)) groups.set(user.tenant, element('optgroup', { label: user.tenantName }));
      groups.get(user.tenant).append(element('option', { value: user.id, selected: user.id === this.#me.id }, user.name));
    }
    select.replaceChildren(...groups.values());
    select.addEventListener('change', () => location.assign(`/?user=${encodeURIComponent(select.value)}`));
    this.#address({ user: this.#me.id });
    const other = this.#colleagues().find((user) => user.id !== this.#me.id);
    if (!other) return;
    const link = byID('second-window');
    link.textContent = `Open a second window as ${other.name}`;
    link.href = `/?user=${encodeURIComponent(other.id)}`;
    link.hidden = false;
  }

  #show(view) {
    byID('app').dataset.view = view;
  }

  // The address names the user and the conversation, so that a reload stays where it was.
  #address(names) {
    const address = new URL(location.href);
    for (const [name, value] of Object.entries(names)) address.searchParams.set(name, value);
    history.replaceState(null, '', address);
  }
}

async function session() {
  const response = await fetch('/sample/session', { cache: 'no-store', signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error(`The sample users could not be read (${response.status}).`);
  return response.json();
}

// newMessage has its id before it is sent, so that the row that comes back by an event is known to be the same.
function newMessage(conversation, content) {
  const now = new Date().toISOString();
  return {
    id: uuid(),
    conversation_id: conversation,
    content,
    is_from_customer: false,
    message_type: 'TEXT',
    status: 'SENT',
    created_at: now,
  };
}

// uuid makes a version 4 one; crypto.randomUUID exists in secure contexts only, and this page may be opened over plain HTTP.
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

// problem shows, in one place, what is wrong now; each subject has at most one text and an empty one ends it.
const problems = new Map();
function problem(subject, text) {
  if (text) problems.set(subject, text);
  else problems.delete(subject);
  const place = byID('problem');
  place.textContent = [...problems.values()].join(' ');
  place.hidden = problems.size === 0;
}

new Page().start().catch((error) => problem('start', `${error.message} Reload the page to try again.`));
