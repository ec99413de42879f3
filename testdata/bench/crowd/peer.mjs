// The same three things on Node's Socket.IO server: a client is let in by its token, joins a conversation, and gets what is published to it, also what it missed while
// it was away. It asks no database who may join, as the bridge does; all else is as its documentation has it.
//
// Environment: PORT, JWT_SECRET, PUBLISH_SECRET.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../node/package.json', import.meta.url));
const { Server } = require('socket.io');
const jwt = require('jsonwebtoken');

const { PORT, JWT_SECRET, PUBLISH_SECRET } = process.env;

const http = createServer(async (request, response) => {
  if (request.url === '/readyz') return response.writeHead(200).end();
  if (request.method !== 'POST' || request.url !== '/api/publish') return response.writeHead(404).end();
  if (request.headers.authorization !== `Bearer ${PUBLISH_SECRET}`) return response.writeHead(401).end();
  let body = '';
  for await (const part of request) body += part;
  const { event, room, data } = JSON.parse(body);
  io.to(room).emit(event, data);
  response.writeHead(202, { 'content-type': 'application/json' }).end(JSON.stringify({ reached: io.sockets.adapter.rooms.get(room)?.size ?? 0 }));
});
const io = new Server(http, {
  connectionStateRecovery: { maxDisconnectionDuration: 2 * 60 * 1000, skipMiddlewares: false }, // the token is looked at again, as the bridge does
});

io.use((socket, next) => {
  try {
    socket.data = { user: jwt.verify(socket.handshake.auth.token, JWT_SECRET, { algorithms: ['HS256'], audience: 'authenticated' }).sub };
    next();
  } catch {
    next(new Error('Authentication error'));
  }
});

io.on('connection', (socket) => {
  socket.on('join_conversation', (id, ack) => {
    socket.join(`conversation:${id}`);
    ack({ success: true });
  });
});

http.listen(Number(PORT), '127.0.0.1', 4096);
