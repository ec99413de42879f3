'use client';

import type { Session } from '@supabase/supabase-js';
import { useEffect, useState } from 'react';
import { Login } from '@/components/Login';
import { Thread } from '@/components/Thread';
import { WebSocketStatusIndicator } from '@/components/WebSocketStatusIndicator';
import { useSocketIO } from '@/hooks/useSocketIO';
import { BackendProvider, useBackend, type Settings } from '@/lib/backend';
import type { ConversationRow, UserRow } from '@/lib/rows';

export function Inbox({ settings }: { settings: Settings }) {
  return (
    <BackendProvider settings={settings}>
      <Gate />
    </BackendProvider>
  );
}

// Gate shows the inbox to who has signed in. A renewed token is the same user and starts nothing anew.
function Gate() {
  const { supabase } = useBackend();
  const [session, setSession] = useState<Session | null>(null);

  useEffect(() => {
    const { data } = supabase.auth.onAuthStateChange((_event, now) => setSession(now));
    return () => data.subscription.unsubscribe();
  }, [supabase]);

  if (!session) return <Login />;
  return <Desk key={session.user.id} me={session.user.id} distributorId={session.user.app_metadata.distributor_id} />;
}

function Desk({ me, distributorId }: { me: string; distributorId: string }) {
  const { supabase } = useBackend();
  const [conversations, setConversations] = useState<ConversationRow[]>([]);
  const [colleagues, setColleagues] = useState<UserRow[]>([]);
  const [open, setOpen] = useState<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const { onlineUsers, notifications, dismiss, refusal, startTyping, stopTyping, getTypingUsers } = useSocketIO(distributorId, open);

  useEffect(() => {
    const gone = new AbortController();
    const conversationsOfUs = supabase
      .from('conversations')
      .select('id, distributor_id, customer_name, last_message_at')
      .order('last_message_at', { ascending: false });
    void conversationsOfUs.abortSignal(gone.signal).then(({ data }) => data && setConversations(data));
    const usersOfUs = supabase.from('users').select('id, name').order('name');
    void usersOfUs.abortSignal(gone.signal).then(({ data }) => data && setColleagues(data));
    return () => gone.abort();
  }, [supabase]);

  async function askForHelp(colleague: string) {
    const { data } = await supabase.auth.getSession();
    const response = await fetch('/api/help', {
      method: 'POST',
      headers: { authorization: `Bearer ${data.session?.access_token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ colleague, conversation: open }),
    });
    setProblem(response.ok ? null : 'Your colleague could not be asked.');
  }

  const shown = conversations.find((each) => each.id === open);
  const nameOf = (id: string) => conversations.find((each) => each.id === id)?.customer_name;
  return (
    <main className="desk">
      <header>
        <h1>Inbox</h1>
        <ul className="people">
          {colleagues.map(({ id, name }) => (
            <li key={id} data-user={id} data-online={onlineUsers.includes(id)}>
              <span className="dot" />
              {name}
              {id === me && ' (you)'}
              {id !== me && open && onlineUsers.includes(id) && (
                <button className="ask" data-ask={id} title={`Ask ${name} to look at this conversation`} onClick={() => void askForHelp(id)}>
                  Ask
                </button>
              )}
            </li>
          ))}
        </ul>
        <WebSocketStatusIndicator />
      </header>
      <nav>
        {conversations.map(({ id, customer_name }) => {
          const unread = notifications.filter((each) => each.conversationId === id).length;
          return (
            <button key={id} data-conversation={id} aria-current={id === open} onClick={() => setOpen(id)}>
              {customer_name}
              {unread > 0 && <b data-unread={unread}>{unread}</b>}
            </button>
          );
        })}
      </nav>
      {shown ? (
        <Thread
          key={shown.id}
          conversation={shown}
          typists={getTypingUsers(shown.id)}
          onTyping={() => startTyping(shown.id)}
          onPause={stopTyping}
        />
      ) : (
        <section className="thread empty">Choose a conversation.</section>
      )}
      <aside>
        {refusal && <p role="alert">{refusal}</p>}
        {problem && <p role="alert">{problem}</p>}
        {notifications.map(({ id, conversationId, content }) => (
          <div key={id} className="notification" data-notification={id}>
            <button onClick={() => setOpen(conversationId)}>
              <strong>{nameOf(conversationId)}</strong> {content}
            </button>
            <button aria-label="Dismiss" onClick={() => dismiss(id)}>
              ×
            </button>
          </div>
        ))}
      </aside>
    </main>
  );
}
