'use client';

import { useEffect, useRef, useState, type FormEvent } from 'react';
import { TypingIndicator } from '@/components/TypingIndicator';
import { useMessages } from '@/hooks/useMessages';
import type { ConversationRow } from '@/lib/rows';

interface Props {
  conversation: ConversationRow;
  typists: string[];
  onTyping: () => void;
  onPause: () => void;
}

const clock = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

export function Thread({ conversation, typists, onTyping, onPause }: Props) {
  const { messages, live, problem, send } = useMessages(conversation.id);
  const [text, setText] = useState('');
  const end = useRef<HTMLLIElement>(null);

  useEffect(() => {
    void end.current?.scrollIntoView({ block: 'end' });
  }, [messages.length]);

  async function submit(event: FormEvent) {
    event.preventDefault();
    const content = text.trim();
    if (!content) return;
    onPause();
    if (await send(content)) setText('');
  }

  return (
    <section className="thread" data-live={live}>
      <h2>{conversation.customer_name}</h2>
      <ol>
        {messages.map((message) => (
          <li key={message.id} className={message.is_from_customer ? 'theirs' : 'ours'} data-message={message.id} data-status={message.status}>
            <p>{message.content}</p>
            <small>
              {clock.format(new Date(message.created_at))}
              {!message.is_from_customer && ` · ${message.status.toLowerCase()}`}
            </small>
          </li>
        ))}
        <li ref={end} className="end" />
      </ol>
      <TypingIndicator names={typists} />
      {problem && <p role="alert">{problem}</p>}
      <form onSubmit={submit}>
        <input
          name="text"
          value={text}
          placeholder="Write a message"
          autoComplete="off"
          onChange={(event) => {
            setText(event.target.value);
            if (event.target.value) onTyping();
            else onPause();
          }}
        />
        <button>Send</button>
      </form>
    </section>
  );
}
