// The Socket.IO server the inbox was written for: rooms, typing, presence, and the rows of messages as supabase-js hears
// them. One process with everything in memory; what a browser misses while it is away is gone.
//
// Environment: PORT, SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY, SUPABASE_JWT_SECRET, PUBLISH_SECRET.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { createClient } from '@supabase/supabase-js';
import { Server } from 'socket.io';
import WebSocket from 'ws';

const { PORT, SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY, SUPABASE_JWT_SECRET, PUBLISH_SECRET } = process.env;

const supabase = createClient(SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY, {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: WebSocket },
});

let live = false;
const http = createServer(async (request, response) => {
  if (request.url === '/readyz') return response.writeHead(live ? 200 : 503).end();
  if (request.method !== 'POST' || request.url !== '/api/publish') return response.writeHead(404).end();
  if (request.headers.authorization !== `Bearer ${PUBLISH_SECRET}`) return response.writeHead(401).end();
  let body = '';
  for await (const part of request) body += part;
  const { event, user, data } = JSON.parse(body);
  io.to(userRoom(user)).emit(event, data);
  response.writeHead(202).end();
});
const io = new Server(http, { cors: { origin: true, credentials: true } });

// verify gives the claims of a token that Supabase signed and that has not expired; it throws at any other.
function verify(token) {
  const [head, body, signature] = String(token).split('.');
  const decode = (part) => JSON.parse(Buffer.from(part, 'base64url').toString());
  const expected = createHmac('sha256', SUPABASE_JWT_SECRET).update(`${head}.${body}`).digest();
  const given = Buffer.from(signature, 'base64url');
  if (decode(head).alg !== 'HS256' || given.length !== expected.length || !timingSafeEqual(given, expected)) throw new Error('bad signature');
  const claims = decode(body);
  if (claims.aud !== 'authenticated' || !(claims.exp * 1000 > Date.now())) throw new Error('expired');
  return claims;
}

io.use((socket, next) => {
  try {
    const claims = verify(socket.handshake.auth.token);
    socket.data = { userId: claims.sub, userName: claims.user_metadata?.name, tenant: claims.app_metadata?.distributor_id };
    next();
  } catch {
    next(new Error('Authentication error'));
  }
});

const distributors = new Map(); // conversation → distributor

async function distributorOf(conversationId) {
  if (!distributors.has(conversationId)) {
    const { data } = await supabase.from('conversations').select('distributor_id').eq('id', conversationId).maybeSingle();
    if (!data) return undefined;
    distributors.set(conversationId, data.distributor_id);
  }
  return distributors.get(conversationId);
}

const conversationRoom = (id) => `conversation:${id}`;
const userRoom = (id) => `user:${id}`;
const distributorRoom = (id) => `distributor:${id}`;
const socketsOf = async (distributor) => io.in(distributorRoom(distributor)).fetchSockets();

io.on('connection', (socket) => {
  const { userId, userName, tenant } = socket.data;
  socket.join(userRoom(userId));

  socket.on('join_distributor', async (id, ack) => {
    if (id !== tenant) return ack?.({ success: false, error: 'Forbidden' });
    socket.join(distributorRoom(id));
    ack?.({ success: true });
    const online = new Set((await socketsOf(id)).map((each) => each.data.userId));
    socket.emit('online_users', [...online]);
    socket.to(distributorRoom(id)).emit('user_online', { userId });
  });

  socket.on('join_conversation', async (id, ack) => {
    if (!tenant || (await distributorOf(id)) !== tenant) return ack?.({ success: false, error: 'Forbidden' });
    socket.join(conversationRoom(id));
    ack?.({ success: true, conversationId: id });
  });

  const typing = (conversationId, isTyping) => {
    const room = conversationRoom(conversationId);
    if (socket.rooms.has(room)) socket.to(room).emit('user_typing', { conversationId, userId, userName, isTyping });
  };
  socket.on('typing_start', ({ conversationId }) => typing(conversationId, true));
  socket.on('typing_stop', ({ conversationId }) => typing(conversationId, false));
  socket.on('leave_conversation', (id) => {
    typing(id, false);
    socket.leave(conversationRoom(id));
  });

  socket.on('disconnecting', () => {
    for (const room of socket.rooms) if (room.startsWith('conversation:')) typing(room.slice('conversation:'.length), false);
  });
  socket.on('disconnect', async () => {
    if (!tenant || (await socketsOf(tenant)).some((each) => each.data.userId === userId)) return;
    io.to(distributorRoom(tenant)).emit('user_offline', { userId });
  });
});

const camel = (row) => Object.fromEntries(Object.entries(row).map(([key, value]) => [key.replace(/_(.)/g, (_, letter) => letter.toUpperCase()), value]));

async function relay(event, row) {
  const distributor = await distributorOf(row.conversation_id);
  io.to([conversationRoom(row.conversation_id), distributorRoom(distributor)]).emit(event, camel(row));
}

supabase
  .channel('messages')
  .on('postgres_changes', { event: 'INSERT', schema: 'public', table: 'messages' }, (change) => relay('new_message', change.new))
  .on('postgres_changes', { event: 'UPDATE', schema: 'public', table: 'messages' }, (change) => relay('message_updated', change.new))
  .on('system', {}, ({ status }) => (live = status === 'ok'))
  .subscribe();

http.listen(PORT, '127.0.0.1');
