'use client';

import { useCallback, useEffect, useState } from 'react';
import { useBackend } from '@/lib/backend';

export type WebSocketStatus = 'connecting' | 'connected' | 'issue';

// useWebSocketStatus tells how the Socket.IO connection stands; reconnect tries at once instead of at the next turn.
export function useWebSocketStatus() {
  const { socket } = useBackend();
  const [status, setStatus] = useState<WebSocketStatus>(socket.connected ? 'connected' : 'connecting');

  useEffect(() => {
    const connected = () => setStatus('connected');
    const issue = () => setStatus('issue');
    socket.on('connect', connected);
    socket.on('disconnect', issue);
    socket.on('connect_error', issue);
    return () => {
      socket.off('connect', connected);
      socket.off('disconnect', issue);
      socket.off('connect_error', issue);
    };
  }, [socket]);

  const reconnect = useCallback(() => {
    setStatus('connecting');
    socket.disconnect().connect();
  }, [socket]);

  return { status, reconnect };
}
