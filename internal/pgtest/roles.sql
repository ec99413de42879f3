-- The roles of a hosted Supabase project. They belong to the cluster, so they are made once. supabase_admin is the
-- superuser that made the cluster; nobody outside Supabase logs in as it.
create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
create role authenticator login noinherit;
grant anon, authenticated, service_role to authenticator;
alter role authenticator set statement_timeout = '8s';
alter role anon set statement_timeout = '3s';
create role dashboard_user nologin createdb createrole replication;
create role supabase_auth_admin login noinherit createrole;
create role supabase_storage_admin login noinherit createrole;
create role supabase_replication_admin login replication;
create role supabase_read_only_user login bypassrls;
create role supabase_realtime_admin nologin noinherit;

-- A project's owner: no superuser, and no member of supabase_realtime_admin.
create role postgres login createdb createrole replication bypassrls;
grant anon, authenticated, service_role, pg_monitor, pg_read_all_data, pg_signal_backend to postgres;

-- The owner as it was until July 2026, when Supabase took this membership away. Roles are the same in all databases of a
-- cluster, so the two owners need two names.
create role postgres_2025 login createdb createrole replication bypassrls;
grant anon, authenticated, service_role, pg_monitor, pg_read_all_data, pg_signal_backend to postgres_2025;
grant supabase_realtime_admin to postgres_2025;
