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
