import { connection } from 'next/server';
import { Inbox } from '@/components/Inbox';

// setting reads a variable of the running server. Named by a constant it would be fixed when the app is built.
function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

export default async function Page() {
  await connection();
  return (
    <Inbox
      settings={{
        supabaseUrl: setting('NEXT_PUBLIC_SUPABASE_URL'),
        supabaseAnonKey: setting('NEXT_PUBLIC_SUPABASE_ANON_KEY'),
        socketUrl: setting('NEXT_PUBLIC_SOCKET_URL'),
      }}
    />
  );
}
