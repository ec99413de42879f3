'use client';

// The two connections of a tab: supabase-js for rows and sign-in, socket.io-client for everything that is not a row.
import { createClient, type SupabaseClient } from '@supabase/supabase-js';
import { createContext, useContext, useEffect, useState, type ReactNode } from 'react';
import { io, type Socket } from 'socket.io-client';

export interface Settings {
  supabaseUrl: string;
  supabaseAnonKey: string;
  socketUrl: string;
}

interface Backend {
  supabase: SupabaseClient;
  socket: Socket;
}

const BackendContext = createContext<Backend | null>(null);

// Both are made in the browser only: a page rendered on the server holds no connection.
export function BackendProvider({ settings, children }: { settings: Settings; children: ReactNode }) {
  const { supabaseUrl, supabaseAnonKey, socketUrl } = settings;
  const [backend, setBackend] = useState<Backend | null>(null);

  useEffect(() => {
    const supabase = createClient(supabaseUrl, supabaseAnonKey);
    const socket = io(socketUrl, {
      autoConnect: false,
      // Asked before every connection, so that one after hours brings the token of that hour.
      auth: (answer) => {
        void supabase.auth.getSession().then(({ data }) => answer({ token: data.session?.access_token }));
      },
    });
    setBackend({ supabase, socket });
    return () => {
      socket.disconnect();
      void supabase.removeAllChannels();
    };
  }, [supabaseUrl, supabaseAnonKey, socketUrl]);

  return backend && <BackendContext value={backend}>{children}</BackendContext>;
}

export function useBackend(): Backend {
  const backend = useContext(BackendContext);
  if (!backend) throw new Error('useBackend is for components inside BackendProvider');
  return backend;
}
