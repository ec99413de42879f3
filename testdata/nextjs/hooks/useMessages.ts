'use client';

import { useCallback, useEffect, useState } from 'react';
import { useBackend } from '@/lib/backend';
import type { MessageRow } from '@/lib/rows';

// How long Realtime may be away before the rows are polled, and how often then.
const pollEvery = 5_000;

const columns = 'id, conversation_id, content, is_from_customer, status, created_at, updated_at';

// merge puts rows into a list by id: of two states of a row the later one stays, whichever way it came.
function merge(known: MessageRow[], rows: MessageRow[]): MessageRow[] {
  const byId = new Map(known.map((row) => [row.id, row]));
  for (const row of rows) {
    const old = byId.get(row.id);
    if (!old || Date.parse(old.updated_at) <= Date.parse(row.updated_at)) byId.set(row.id, { ...old, ...row });
  }
  return [...byId.values()].sort((a, b) => Date.parse(a.created_at) - Date.parse(b.created_at));
}

// useMessages follows the messages of a conversation: read once, then kept current by Realtime. What was committed while
// Realtime was away is never sent by it, so the rows are read again whenever it says that it follows the table. They are
// polled only for as long as it does not.
export function useMessages(conversationId: string) {
  const { supabase } = useBackend();
  const [messages, setMessages] = useState<MessageRow[]>([]);
  const [live, setLive] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);

  const read = useCallback(
    async (signal: AbortSignal) => {
      const { data, error } = await supabase
        .from('messages')
        .select(columns)
        .eq('conversation_id', conversationId)
        .order('created_at')
        .abortSignal(signal);
      if (signal.aborted) return;
      setProblem(error ? 'The messages could not be read.' : null);
      if (data) setMessages((known) => merge(known, data));
    },
    [supabase, conversationId],
  );

  useEffect(() => {
    const gone = new AbortController();
    setMessages([]);
    void read(gone.signal);
    const channel = supabase
      .channel(`messages-${conversationId}`)
      .on<MessageRow>(
        'postgres_changes',
        { event: '*', schema: 'public', table: 'messages', filter: `conversation_id=eq.${conversationId}` },
        (change) => {
          if (change.eventType === 'DELETE') setMessages((known) => known.filter((row) => row.id !== change.old.id));
          else setMessages((known) => merge(known, [change.new]));
        },
      )
      .on('system', {}, ({ status }: { status: string }) => {
        setLive(status === 'ok');
        if (status === 'ok') void read(gone.signal);
      })
      .subscribe((status) => {
        if (status !== 'SUBSCRIBED') setLive(false);
      });
    return () => {
      gone.abort();
      setLive(false);
      void supabase.removeChannel(channel);
    };
  }, [supabase, conversationId, read]);

  useEffect(() => {
    if (live) return;
    const gone = new AbortController();
    const timer = setInterval(() => void read(gone.signal), pollEvery);
    return () => {
      gone.abort();
      clearInterval(timer);
    };
  }, [live, read]);

  const send = useCallback(
    async (content: string) => {
      const { error } = await supabase.from('messages').insert({ conversation_id: conversationId, content });
      setProblem(error ? 'The message was not sent.' : null);
      return !error;
    },
    [supabase, conversationId],
  );

  return { messages, live, problem, send };
}
