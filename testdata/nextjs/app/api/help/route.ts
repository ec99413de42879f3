import { setting } from '@/lib/settings';

interface Asked {
  colleague: string;
  conversation: string;
}

// visible gives the row of a table that the caller may see, by the caller's own token; none without a valid one.
async function visible<Row>(authorization: string, table: string, id: string, columns: string): Promise<Row | undefined> {
  const query = new URLSearchParams({ id: `eq.${id}`, select: columns });
  const response = await fetch(`${setting('NEXT_PUBLIC_SUPABASE_URL')}/rest/v1/${table}?${query}`, {
    headers: { apikey: setting('NEXT_PUBLIC_SUPABASE_ANON_KEY'), authorization },
    cache: 'no-store',
  });
  return response.ok ? ((await response.json()) as Row[])[0] : undefined;
}

// POST asks a colleague to look at a conversation. The Socket.IO server is told by this server, never by a browser.
export async function POST(request: Request) {
  const { colleague, conversation } = (await request.json()) as Asked;
  const authorization = request.headers.get('authorization') ?? '';
  const [to, about] = await Promise.all([
    visible<{ id: string }>(authorization, 'users', colleague, 'id'),
    visible<{ id: string; customer_name: string }>(authorization, 'conversations', conversation, 'id,customer_name'),
  ]);
  if (!to || !about) return Response.json({ error: 'not yours to ask' }, { status: 403 });

  const published = await fetch(`${setting('NEXT_PUBLIC_SOCKET_URL')}/api/publish`, {
    method: 'POST',
    headers: { authorization: `Bearer ${setting('PUBLISH_SECRET')}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      event: 'notification',
      user: to.id,
      data: { id: crypto.randomUUID(), type: 'help', conversationId: about.id, message: `Please look at ${about.customer_name}` },
    }),
  });
  return Response.json({ asked: published.ok }, { status: published.ok ? 200 : 502 });
}
