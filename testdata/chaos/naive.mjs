// The bridge that a team writes in an afternoon: supabase-js into Socket.IO. It is here to be compared with.
import { createServer } from 'node:http';
import { createClient } from '@supabase/supabase-js';
import { Server } from 'socket.io';
import ws from 'ws';

const { PORT, SUPABASE_URL, SUPABASE_KEY } = process.env;

let status = 'starting';
const http = createServer((request, response) => response.writeHead(status === 'SUBSCRIBED' ? 200 : 503).end(status));
const io = new Server(http, { cors: { origin: '*' } });

io.on('connection', (socket) => {
  socket.on('join_conversation', ({ conversationId }, ack) => {
    socket.join(conversationId);
    ack({ success: true });
  });
  socket.on('join_distributor', (ack) => ack({ success: true })); // it has no such rooms; its rows come by those of the conversations
});

const supabase = createClient(SUPABASE_URL, SUPABASE_KEY, { realtime: { transport: ws } });
supabase
  .channel('messages')
  .on('postgres_changes', { event: '*', schema: 'public', table: 'messages' }, ({ eventType, new: row, old }) => {
    if (eventType === 'INSERT') io.to(row.conversation_id).emit('new_message', row);
    if (eventType === 'UPDATE') io.to(row.conversation_id).emit('message_updated', row);
    if (eventType === 'DELETE') io.emit('message_deleted', old);
  })
  .subscribe((now, error) => {
    status = now;
    console.log(now, error?.message ?? '');
  });

http.listen(Number(PORT), '127.0.0.1');
