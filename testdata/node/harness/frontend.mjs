// A browser of the cluster's chaos test: a real socket.io-client that does what a good frontend does. On connecting it enters its tenant's room and, unless the
// connection was recovered, its conversation's, with the messages that events have brought it as `since`. It counts what comes, and keeps a journal of it.
import { io } from 'socket.io-client';
import { userToken } from './tokens.mjs';

const ackWait = 10_000; // until a join counts as unanswered
const retryWait = 200; // until it is tried again
const overlap = 1_000; // how far before its opening a frontend knows its conversation: it was empty

const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// clock is the time in milliseconds since 1970, in microseconds: it tells what came first within a millisecond.
export const clock = () => performance.timeOrigin + performance.now();

export const stamp = (at) => new Date(at).toISOString().slice(11, -1) + String(Math.floor((at % 1) * 1000)).padStart(3, '0');

export class Frontend {
  rows = new Map(); // id -> updated_at of the messages that events brought
  news = new Map(); // n -> when it came
  duplicated = [];
  recovered = 0; // how often its socket came back to it
  stays = []; // { from, to, id }: when it was in its room, from the answer to its joining to the end of the last connection of the socket
  typing = new Map(); // user -> when they began to type
  journal = []; // lines, where they are wanted

  constructor(url, i, tenant, room, { journal = false, ...options }) {
    Object.assign(this, { i, room, tenant, keeps: journal });
    this.user = { id: `b0000000-0000-4000-8000-${String(i).padStart(12, '0')}`, name: `user ${i}`, tenant: tenant.id };
    this.opened = new Date(Date.now() - overlap).toISOString();
    this.socket = io(url, { forceNew: true, auth: { token: userToken(this.user) }, reconnectionDelay: 50, reconnectionDelayMax: 500, ...options });
    this.socket.on('connect', () => this.connected());
    this.socket.on('connect_error', (error) => this.happened(`connect_error: ${error.message}: ${error.description?.message ?? error.description ?? ''}`));
    this.socket.on('disconnect', (reason) => this.disconnected(reason));
    this.socket.on('new_message', (row) => this.told(row));
    this.socket.on('news', (n) => this.heard(n));
    this.socket.on('user_typing', ({ userId, isTyping }) => isTyping && this.typing.set(userId, clock()));
  }

  // happened notes what the connection did last.
  happened(text) {
    this.last = text;
    this.write(text);
  }

  write(text) {
    if (this.keeps) this.journal.push(`${stamp(clock())} ${text}`);
  }

  // state says in one line how it stands, for a test that waits for it in vain.
  get state() {
    return `browser ${this.i}: ${this.last}; connected ${this.socket.connected}, active ${this.socket.active}, transport ${this.socket.io.engine?.transport?.name}`;
  }

  get joined() {
    return this.socket.connected && this.stays.at(-1)?.to === Infinity;
  }

  connected() {
    const { id, recovered } = this.socket;
    this.happened(`connected as ${id} by ${this.socket.io.engine.transport.name}${recovered ? ', recovered' : ''}`);
    const stay = this.stays.at(-1);
    if (recovered) this.recovered++;
    if (recovered && stay?.id === id) stay.to = Infinity; // and what came meanwhile comes still
    else this.enter(id);
  }

  disconnected(reason) {
    this.happened(`disconnected: ${reason}`);
    const stay = this.stays.at(-1);
    if (stay?.to === Infinity) stay.to = clock();
  }

  told(row) {
    const twice = this.rows.has(row.id);
    this.write(`new_message ${row.id} ${row.updated_at}${twice ? ' TWICE' : ''}`);
    if (twice) this.duplicated.push(`row ${row.id} at browser ${this.i}, at ${stamp(clock())}`);
    this.rows.set(row.id, row.updated_at);
  }

  heard(n) {
    const twice = this.news.has(n);
    this.write(`news ${n}${twice ? ' TWICE' : ''}`);
    if (twice) this.duplicated.push(`event ${n} at browser ${this.i}, at ${stamp(clock())}`);
    else this.news.set(n, clock());
  }

  // enter joins its rooms, again and again until that succeeds or the connection is another.
  async enter(id) {
    while (this.socket.id === id && this.socket.connected) {
      try {
        this.write('join of the tenant');
        await this.socket.timeout(ackWait).emitWithAck('join_distributor', this.tenant.id);
        const since = [{ id: '', updated_at: this.opened }, ...[...this.rows].map(([id, updated_at]) => ({ id, updated_at }))];
        this.write(`join since ${since.length - 1} rows, the last ${since.length > 1 ? `${since.at(-1).id} ${since.at(-1).updated_at}` : 'none'}`);
        const answer = await this.socket.timeout(ackWait).emitWithAck('join_conversation', { conversationId: this.room, since });
        this.happened(`join answered ${JSON.stringify(answer)}`);
        if (answer.success && answer.complete) {
          if (this.socket.id === id && this.socket.connected && !this.joined) this.stays.push({ from: clock(), to: Infinity, id });
          return;
        }
      } catch (error) {
        this.happened(`join: ${error.message}`);
      }
      await after(retryWait);
    }
  }
}
