// A stand-in Supabase from the built binary, and the real supabase-js to talk to it.
import { createClient } from '@supabase/supabase-js';
import WebSocket from 'ws';
import { freePort, Program } from './program.mjs';
import { anonKey, serviceKey, userToken } from './tokens.mjs';

// client is supabase-js as an application makes it; the transport is named because Node 20 has no WebSocket of its own.
export function client(url, key, token) {
  return createClient(url, key, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: WebSocket },
    ...(token ? { accessToken: async () => token } : {}),
  });
}

// rows unwraps a supabase-js answer, or fails with the error it carries.
export function rows({ data, error }) {
  if (error) throw new Error(`${error.code}: ${error.message}`);
  return data;
}

export async function startStandin(port) {
  const standin = new Standin(port ?? (await freePort()));
  await standin.start();
  return standin;
}

export class Standin {
  #program;

  constructor(port) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.service = client(this.url, serviceKey);
  }

  async start() {
    // Changes are delivered as they are committed: what is deleted before Realtime looks is, as in a real one, told by its DELETE only.
    this.#program = Program.start(['standin', '--listen', `127.0.0.1:${this.port}`, '--poll', '0s']);
    await this.#program.answers(`${this.url}/health`);
  }

  kill() {
    return this.#program.signal('SIGKILL');
  }

  stop() {
    return this.#program.stop();
  }

  // tenants are the distributors of the seed with their users (and a token for each) and conversations, oldest first.
  async tenants() {
    const distributors = rows(await this.service.from('distributors').select('*').order('id'));
    const users = rows(await this.service.from('users').select('*').order('id'));
    const conversations = rows(await this.service.from('conversations').select('*').order('id'));
    return distributors.map(({ id, name }) => ({
      id,
      name,
      conversations: conversations.filter((row) => row.distributor_id === id).map((row) => row.id),
      users: users
        .filter((row) => row.distributor_id === id)
        .map((row) => ({ id: row.id, name: row.name, token: userToken({ id: row.id, name: row.name, tenant: id }) })),
    }));
  }

  // write inserts a message by supabase-js and gives back its row.
  async write(conversation, content, columns = {}) {
    const message = { conversation_id: conversation, content, is_from_customer: true, status: 'SENT', ...columns };
    return rows(await this.service.from('messages').insert(message).select().single());
  }

  async change(id, columns) {
    return rows(await this.service.from('messages').update(columns).eq('id', id).select().single());
  }

  async remove(id) {
    rows(await this.service.from('messages').delete().eq('id', id));
  }
}
