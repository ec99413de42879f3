-- supabridge: the fast lane.
--
-- Each change of the tables below is broadcast on a private channel as it commits. It can be applied again, and
-- `supabridge sql --undo` prints what takes it back. It needs no more rights than postgres has in a hosted project. A broadcast that
-- fails warns and lets the application's transaction be.

begin;

-- A schema of its own, which the API does not expose.
create schema if not exists supabridge;
revoke all on schema supabridge from public, anon, authenticated, service_role;

-- The channel's name ends in what nobody can guess. Whoever does not know it can neither hear the channel nor broadcast on it, also
-- while the policy below is gone. It stays the same when this is applied again.
create table if not exists supabridge.lane (
  only_one boolean primary key default true check (only_one),
  topic text not null default 'supabridge:lane:' || replace(pg_catalog.gen_random_uuid()::text, '-', ''),
  guard text -- what supabridge.guard() said when this was applied
);
alter table supabridge.lane enable row level security;
revoke all on table supabridge.lane from public, anon, authenticated, service_role;
insert into supabridge.lane default values on conflict do nothing;

-- Whoever changes a row need not be allowed to broadcast, so the function runs as its owner. search_path is empty: nobody can put a function of
-- theirs in the place of one that is called here. Realtime's function leaves the channel's name in realtime.topic, which is put back
-- at the end, so that the rest of the application's transaction does not see it.
create or replace function supabridge.broadcast_change() returns trigger
  language plpgsql
  security definer
  set search_path = ''
as $function$
declare
  topic_before text := current_setting('realtime.topic', true);
begin
  perform realtime.broadcast_changes((select l.topic from supabridge.lane l), tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  perform set_config('realtime.topic', coalesce(topic_before, ''), true);
  return null;
exception when others then
  raise warning 'supabridge: a change of %.% was not broadcast: %', tg_table_schema, tg_table_name, sqlerrm;
  return null;
end
$function$;

-- A trigger fires without this right; nobody calls the function by hand.
revoke all on function supabridge.broadcast_change() from public, anon, authenticated, service_role;

-- Order ; drop table x; --
drop trigger if exists supabridge_broadcast on "My ""Schema"""."Order
; drop table x; --";
create trigger supabridge_broadcast
  after insert or update or delete on "My ""Schema"""."Order
; drop table x; --"
  for each row execute function supabridge.broadcast_change();
-- Missed rows are read in this order. On a large table, create it beforehand and concurrently: this locks out writers meanwhile.
create index if not exists "supabridge_Order
; drop table x; --_cursor" on "My ""Schema"""."Order
; drop table x; --" ("when", "i""d");

-- bare
drop trigger if exists supabridge_broadcast on "My ""Schema"""."bare";
create trigger supabridge_broadcast
  after insert or update or delete on "My ""Schema"""."bare"
  for each row execute function supabridge.broadcast_change();

-- Who may listen and broadcast. service_role bypasses row level security, so the bridge needs no policy; this one only keeps others
-- out, also where a policy of the application's own lets its users use every topic: it is restrictive, and takes away without giving.
-- Realtime names the topic in realtime.topic; somebody who reads or writes the table itself may leave that out, so the column counts too.
-- Supabase has row level security on there, and lets its owner alone turn it on; where it is off, whoever applies this must be that.
do $do$
begin
  if not (select relrowsecurity from pg_catalog.pg_class where oid = 'realtime.messages'::regclass) then
    alter table realtime.messages enable row level security;
  end if;
end
$do$;
drop policy if exists supabridge_service_role_only on realtime.messages;
create policy supabridge_service_role_only on realtime.messages
  as restrictive
  for all
  to public
  using (not starts_with(coalesce((select realtime.topic()), ''), 'supabridge:lane') and not starts_with(topic, 'supabridge:lane'))
  with check (not starts_with(coalesce((select realtime.topic()), ''), 'supabridge:lane') and not starts_with(topic, 'supabridge:lane'));

-- All that makes this policy what it is, as text; null where it is gone, or row level security is off.
create or replace function supabridge.guard() returns text
  language sql
  stable
  set search_path = ''
as $function$
  select format('permissive %s, for %s, to %s, using %s, with check %s', p.polpermissive, p.polcmd, p.polroles,
    pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
  from pg_catalog.pg_policy p
  join pg_catalog.pg_class c on c.oid = p.polrelid
  where p.polrelid = 'realtime.messages'::regclass and p.polname = 'supabridge_service_role_only' and c.relrowsecurity
$function$;
revoke all on function supabridge.guard() from public, anon, authenticated, service_role;
update supabridge.lane set guard = supabridge.guard();

-- What the bridge asks over the REST API with the service key, at its start and while it runs: the channel's name, whether the policy
-- is still as it was made here (ok, missing or altered), and which of the tables named have the trigger as it was made here.
create or replace function "My ""Schema""".supabridge_lane(schema text, tables text[]) returns jsonb
  language sql
  security definer
  set search_path = ''
as $function$
  select jsonb_build_object(
    'topic', l.topic,
    'guard', case when supabridge.guard() = l.guard then 'ok' when supabridge.guard() is null then 'missing' else 'altered' end,
    'tables', (
      select coalesce(jsonb_agg(c.relname order by c.relname), '[]')
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      join pg_catalog.pg_trigger t on t.tgrelid = c.oid
      where n.nspname = $1 and c.relname = any ($2) and t.tgname = 'supabridge_broadcast'
        and t.tgfoid = 'supabridge.broadcast_change()'::regprocedure
        and t.tgenabled in ('O', 'A') and t.tgqual is null and t.tgattr::text = ''
        and t.tgtype = 1 + 4 + 8 + 16)) -- after, for each row, on insert, delete and update
  from supabridge.lane l
$function$;
revoke all on function "My ""Schema""".supabridge_lane(text, text[]) from public, anon, authenticated;
grant execute on function "My ""Schema""".supabridge_lane(text, text[]) to service_role;

-- What supabridge doctor asks over the REST API with the service key: of the tables named what the catalog says, no row of theirs.
create or replace function "My ""Schema""".supabridge_facts(schema text, tables text[]) returns jsonb
  language sql
  stable
  set search_path = ''
as $function$
select jsonb_build_object(
  'tables', coalesce((
    select jsonb_object_agg(c.relname, jsonb_build_object(
      'published', exists (
        select from pg_catalog.pg_publication_tables p
        where p.pubname = 'supabase_realtime' and p.schemaname = n.nspname and p.tablename = c.relname),
      'identity', c.relreplident::text,
      'rls', c.relrowsecurity,
      'columns', (
        select jsonb_object_agg(a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))
        from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
      'indexes', coalesce((
        select jsonb_agg(jsonb_build_object('unique', i.indisunique, 'columns', (
          select coalesce(jsonb_agg(coalesce(a.attname::text, '') order by k.place), '[]')
          from unnest(i.indkey::int2[]) with ordinality k (attnum, place)
          left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
          where k.place <= i.indnkeyatts)))
        from pg_catalog.pg_index i
        where i.indrelid = c.oid and i.indisvalid and i.indpred is null), '[]'),
      'kept', exists (
        select from pg_catalog.pg_trigger t
        where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled <> 'D' and t.tgtype & 2 <> 0 and t.tgtype & 16 <> 0),
      'broadcasts', exists (
        select from pg_catalog.pg_trigger t
        where t.tgrelid = c.oid and t.tgname = 'supabridge_broadcast' and t.tgenabled <> 'D')
    ))
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = any ($2)
  ), '{}'))
$function$;
revoke all on function "My ""Schema""".supabridge_facts(text, text[]) from public, anon, authenticated;
grant execute on function "My ""Schema""".supabridge_facts(text, text[]) to service_role;

commit;
