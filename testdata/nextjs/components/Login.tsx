'use client';

import { useState, type FormEvent } from 'react';
import { useBackend } from '@/lib/backend';

export function Login() {
  const { supabase } = useBackend();
  const [problem, setProblem] = useState('');

  async function signIn(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const { error } = await supabase.auth.signInWithPassword({
      email: String(form.get('email')),
      password: String(form.get('password')),
    });
    if (error) setProblem(error.message);
  }

  return (
    <form className="login" onSubmit={signIn}>
      <h1>Inbox</h1>
      <label>
        Email <input name="email" type="email" autoComplete="username" required />
      </label>
      <label>
        Password <input name="password" type="password" autoComplete="current-password" required />
      </label>
      <button>Sign in</button>
      {problem && <p role="alert">{problem}</p>}
    </form>
  );
}
