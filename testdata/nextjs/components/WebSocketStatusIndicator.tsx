'use client';

import { useWebSocketStatus } from '@/hooks/useWebSocketStatus';

const words = { connecting: 'Connecting…', connected: 'Connected', issue: 'Connection Issue' };

export function WebSocketStatusIndicator() {
  const { status, reconnect } = useWebSocketStatus();
  return (
    <div className="status" data-status={status} role="status">
      <span className="dot" />
      {words[status]}
      {status === 'issue' && <button onClick={reconnect}>Reconnect</button>}
    </div>
  );
}
