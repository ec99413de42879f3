// The REST side of Supabase, as supabase-js asks it: PostgREST with the public key and the user's own token, so that Row
// Level Security decides what this user sees.

const timeout = 10_000; // milliseconds

export class Rest {
  #session;

  // session gives { supabaseUrl, anonKey, token } as they are now.
  constructor(session) {
    this.#session = session;
  }

  conversations() {
    return this.#ask('GET', 'conversations?select=*&order=last_message_at.desc.nullslast&limit=200');
  }

  // The newest messages of every conversation this user may see, newest first.
  messages() {
    return this.#ask('GET', 'messages?select=*&order=created_at.desc&limit=1000');
  }

  write(message) {
    return this.#ask('POST', 'messages', message);
  }

  markRead(ids) {
    return this.#ask('PATCH', `messages?id=in.(${ids.join(',')})`, { status: 'READ' });
  }

  async #ask(method, path, body) {
    const { supabaseUrl, anonKey, token } = this.#session();
    let response;
    try {
      response = await fetch(`${supabaseUrl}/rest/v1/${path}`, {
        method,
        headers: {
          apikey: anonKey,
          Authorization: `Bearer ${token}`,
          ...(body ? { 'Content-Type': 'application/json', Prefer: 'return=minimal' } : {}),
        },
        body: body && JSON.stringify(body),
        signal: AbortSignal.timeout(timeout),
      });
    } catch {
      throw new Error(`Supabase at ${supabaseUrl} does not answer.`);
    }
    const text = await response.text();
    if (!response.ok) throw new Error(`Supabase refused: ${explanation(text) || response.statusText}`);
    return text ? JSON.parse(text) : null;
  }
}

function explanation(text) {
  try {
    return JSON.parse(text).message;
  } catch {
    return '';
  }
}
