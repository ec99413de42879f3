// The stand-in's REST as the real supabase-js sees it: what such applications ask, answered as PostgREST answers.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { client } from './harness/standin.mjs';

const { SUPABASE_URL: url, SUPABASE_ANON_KEY: anonKey, SUPABASE_SERVICE_ROLE_KEY: serviceKey, SUPABASE_USER_TOKEN: userToken } = process.env;

// ok unwraps an answer that must not be an error.
function ok({ data, error, count }) {
  assert.equal(error, null, JSON.stringify(error));
  return count === null || count === undefined ? data : { data, count };
}

// refused unwraps an answer that must be an error, with its status.
function refused({ data, error, status }) {
  assert.ok(error, `expected an error, got ${JSON.stringify(data)}`);
  return { status, code: error.code, message: error.message, details: error.details, hint: error.hint };
}

describe('REST of the stand-in under supabase-js', () => {
  const service = client(url, serviceKey);
  const user = client(url, anonKey, userToken);
  const anon = client(url, anonKey);
  const mark = `rest-${randomUUID()}`;
  const { distributor_id: ours } = JSON.parse(Buffer.from(userToken.split('.')[1], 'base64url')).app_metadata;
  let conversation, foreign;
  const ids = Array.from({ length: 6 }, () => randomUUID()).sort();

  before(async () => {
    const conversations = ok(await service.from('conversations').select('id, distributor_id'));
    conversation = conversations.find((row) => row.distributor_id === ours).id;
    foreign = conversations.find((row) => row.distributor_id !== ours).id;
    ok(
      await service.from('messages').insert(
        ids.map((id, i) => ({
          id,
          conversation_id: conversation,
          content: `${mark} ${['apple', 'Banana', 'cherry, red', 'date (dry)', 'say "egg"', '50%_fig'][i]}`,
          ai_extracted_intent: i % 2 ? 'odd' : null,
          thread_position: i,
          external_message_id: `${mark}-${i}`,
          is_from_customer: i < 3,
        })),
      ),
    );
  });
  after(async () => {
    ok(await service.from('messages').delete().like('content', `${mark}%`));
  });

  // six starts a select on the six rows above.
  const six = (columns = 'thread_position', options) => service.from('messages').select(columns, options).in('id', ids);
  const positions = async (query) => ok(await query.order('thread_position')).map((row) => row.thread_position);

  describe('select', () => {
    test('columns and aliases come in the order asked', async () => {
      const [row] = ok(await six('position:thread_position, id').eq('thread_position', 2));
      assert.deepEqual(row, { position: 2, id: ids[2] });
      assert.deepEqual(Object.keys(row), ['position', 'id']);
    });
    test('times are ISO 8601 with microseconds and an offset', async () => {
      const { created_at } = ok(await six('created_at').limit(1).single());
      assert.match(created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\+00:00$/);
      assert.equal(ok(await six('id', { count: 'exact' }).eq('created_at', created_at)).count, 6);
    });

    const cases = {
      eq: [(q) => q.eq('thread_position', 3), [3]],
      neq: [(q) => q.neq('thread_position', 3), [0, 1, 2, 4, 5]],
      'neq leaves nulls out': [(q) => q.neq('ai_extracted_intent', 'even'), [1, 3, 5]],
      gt: [(q) => q.gt('thread_position', 3), [4, 5]],
      'gte and lt on one column': [(q) => q.gte('thread_position', 1).lt('thread_position', 3), [1, 2]],
      lte: [(q) => q.lte('thread_position', 1), [0, 1]],
      in: [(q) => q.in('thread_position', [1, 4]), [1, 4]],
      'in with quoting': [(q) => q.in('content', [`${mark} cherry, red`, `${mark} date (dry)`, `${mark} say "egg"`]), [2, 3, 4]],
      'in of nothing': [(q) => q.in('thread_position', []), []],
      'not in': [(q) => q.not('thread_position', 'in', '(0,1,2,3)'), [4, 5]],
      'is null': [(q) => q.is('ai_extracted_intent', null), [0, 2, 4]],
      'is not null': [(q) => q.not('ai_extracted_intent', 'is', null), [1, 3, 5]],
      'is true': [(q) => q.is('is_from_customer', true), [0, 1, 2]],
      'is false': [(q) => q.is('is_from_customer', false), [3, 4, 5]],
      'eq true': [(q) => q.eq('is_from_customer', true), [0, 1, 2]],
      like: [(q) => q.like('content', '%an%'), [1]],
      'like is exact about case': [(q) => q.like('content', '%banana'), []],
      ilike: [(q) => q.ilike('content', '%banana'), [1]],
      'like escaped': [(q) => q.like('content', '%50\\%\\_fig'), [5]],
      likeAnyOf: [(q) => q.likeAnyOf('content', ['%apple', '%fig']), [0, 5]],
      ilikeAllOf: [(q) => q.ilikeAllOf('content', ['%CHERRY%', '%red']), [2]],
      match: [(q) => q.match({ thread_position: 2, is_from_customer: true }), [2]],
      or: [(q) => q.or('thread_position.eq.0,thread_position.eq.5'), [0, 5]],
      'or with and': [(q) => q.or('thread_position.lt.1,and(thread_position.gt.3,is_from_customer.is.false,thread_position.neq.5)'), [0, 4]],
      'or with not and in': [(q) => q.or('thread_position.not.in.(0,1,2,3),ai_extracted_intent.is.null'), [0, 2, 4, 5]],
      'or with quotes': [(q) => q.or(`content.eq."${mark} cherry, red",content.eq."${mark} say \\"egg\\""`), [2, 4]],
      'two or': [(q) => q.or('thread_position.eq.1,thread_position.eq.2').or('thread_position.eq.2,thread_position.eq.3'), [2]],
      filter: [(q) => q.filter('thread_position', 'gte', 4), [4, 5]],
    };
    for (const [name, [filter, expected]] of Object.entries(cases)) {
      test(name, async () => assert.deepEqual(await positions(filter(six())), expected));
    }

    test('order puts nulls last when ascending, first when descending, or as asked', async () => {
      const order = async (options) =>
        ok(await six('ai_extracted_intent, thread_position').order('ai_extracted_intent', options).order('thread_position', { ascending: false })).map(
          (row) => row.thread_position,
        );
      assert.deepEqual(await order({ ascending: true }), [5, 3, 1, 4, 2, 0]);
      assert.deepEqual(await order({ ascending: false }), [4, 2, 0, 5, 3, 1]);
      assert.deepEqual(await order({ ascending: true, nullsFirst: true }), [4, 2, 0, 5, 3, 1]);
      assert.deepEqual(await order({ ascending: false, nullsFirst: false }), [5, 3, 1, 4, 2, 0]);
    });
    test('a path into JSON, selected and asked for', async () => {
      const sid = `${mark}-path`;
      ok(await service.from('messages').insert({ conversation_id: conversation, content: sid, external_metadata: { twilio: { sid, media: [1, 2] } } }));
      assert.deepEqual(
        ok(await service.from('messages').select('external_metadata->twilio->>sid, last:external_metadata->twilio->media->-1').eq('external_metadata->twilio->>sid', sid)),
        [{ sid, last: 2 }],
      );
    });
    test('limit and range', async () => {
      assert.deepEqual(await positions(six().limit(2)), [0, 1]);
      assert.deepEqual(await positions(six().range(2, 3)), [2, 3]);
    });
    test('the cursor of a poller', async () => {
      const [{ updated_at }] = ok(await six('updated_at').limit(1));
      const rows = ok(
        await six('thread_position')
          .or(`updated_at.gt."${updated_at}",and(updated_at.eq."${updated_at}",id.gt."${ids[3]}")`)
          .order('updated_at')
          .order('id'),
      );
      assert.deepEqual(rows.map((row) => row.thread_position), [4, 5]);
    });
    test('count, with and without rows', async () => {
      const { data, count } = ok(await six('id', { count: 'exact' }).limit(2));
      assert.equal(data.length, 2);
      assert.equal(count, 6);
      const head = await six('*', { count: 'exact', head: true });
      assert.deepEqual([head.status, head.count, head.data], [200, 6, null]);
      assert.equal(ok(await six('id', { count: 'estimated' })).count, 6);
      assert.equal(ok(await six('id', { count: 'exact' }).eq('thread_position', 99)).count, 0);
    });
    test('single and maybeSingle', async () => {
      assert.deepEqual(ok(await six().eq('thread_position', 4).single()), { thread_position: 4 });
      assert.deepEqual(refused(await six().single()), {
        status: 406,
        code: 'PGRST116',
        message: 'Cannot coerce the result to a single JSON object',
        details: 'The result contains 6 rows',
        hint: null,
      });
      assert.equal(refused(await six().eq('thread_position', 9).single()).details, 'The result contains 0 rows');
      assert.deepEqual(ok(await six().eq('thread_position', 4).maybeSingle()), { thread_position: 4 });
      assert.equal(ok(await six().eq('thread_position', 9).maybeSingle()), null);
      assert.equal(refused(await six().maybeSingle()).code, 'PGRST116');
    });
    test('what is not there is said in words', async () => {
      assert.deepEqual(refused(await service.from('message').select()), {
        status: 404,
        code: 'PGRST205',
        message: "Could not find the table 'public.message' in the schema cache",
        details: null,
        hint: "Perhaps you meant the table 'public.messages'",
      });
      assert.deepEqual(refused(await service.from('messages').select('nope')), {
        status: 400,
        code: '42703',
        message: 'column messages.nope does not exist',
        details: null,
        hint: null,
      });
      assert.equal(refused(await service.from('messages').select().eq('id', 'not-a-uuid')).code, '22P02');
      assert.equal(refused(await service.from('messages').select().like('id', 'a%')).code, '42883');
      assert.equal(refused(await service.from('messages').select('*, conversations(*)')).code, 'PGRST127');
      assert.equal(refused(await service.rpc('nothing')).code, 'PGRST202');
      assert.equal(refused(await service.schema('other').from('messages').select()).code, 'PGRST106');
    });
  });

  describe('insert, update, upsert, delete', () => {
    const draft = (columns) => ({ conversation_id: conversation, content: `${mark} draft`, ...columns });

    test('insert alone answers with nothing', async () => {
      const answer = await service.from('messages').insert(draft());
      assert.deepEqual([answer.status, answer.data, answer.error], [201, null, null]);
    });
    test('insert and select gives the whole row with its defaults', async () => {
      const attachments = [{ url: 'https://example.test/a b', size: 12345678901, nested: { ok: true, none: null } }];
      const row = ok(await service.from('messages').insert(draft({ attachments })).select().single());
      assert.deepEqual(row.attachments, attachments);
      assert.equal(row.status, 'SENT');
      assert.equal(row.reply_to_message_id, null);
      assert.equal(row.created_at, row.updated_at);
    });
    test('insert of many with different keys', async () => {
      const rows = ok(
        await service
          .from('messages')
          .insert([draft({ status: 'READ' }), draft({ message_type: 'IMAGE' })], { defaultToNull: false })
          .select('status, message_type'),
      );
      assert.deepEqual(rows, [
        { status: 'READ', message_type: 'TEXT' },
        { status: 'SENT', message_type: 'IMAGE' },
      ]);
      assert.equal(refused(await service.from('messages').insert([draft({ status: 'READ' }), draft()])).code, '23502');
    });
    test('insert of many is all or nothing', async () => {
      const id = randomUUID();
      assert.equal(refused(await service.from('messages').insert([draft({ id }), draft({ id: ids[0] })])).code, '23505');
      assert.equal(ok(await service.from('messages').select().eq('id', id)).length, 0);
    });
    test('count of inserted rows', async () => {
      const answer = await service.from('messages').insert([draft(), draft()], { count: 'exact' });
      assert.equal(answer.count, 2);
    });
    test('constraints are refused with their codes', async () => {
      assert.deepEqual(refused(await service.from('messages').insert(draft({ id: ids[0] }))), {
        status: 409,
        code: '23505',
        message: 'duplicate key value violates unique constraint "messages_pkey"',
        details: `Key (id)=(${ids[0]}) already exists.`,
        hint: null,
      });
      const orphan = randomUUID();
      assert.deepEqual(refused(await service.from('messages').insert(draft({ conversation_id: orphan }))), {
        status: 409,
        code: '23503',
        message: 'insert or update on table "messages" violates foreign key constraint "messages_conversation_id_fkey"',
        details: `Key (conversation_id)=(${orphan}) is not present in table "conversations".`,
        hint: null,
      });
      assert.equal(refused(await service.from('messages').insert(draft({ content: null }))).code, '23502');
      assert.deepEqual(refused(await service.from('messages').insert(draft({ nope: 1 }))), {
        status: 400,
        code: 'PGRST204',
        message: "Could not find the 'nope' column of 'messages' in the schema cache",
        details: null,
        hint: null,
      });
    });
    test('update returns what was changed and moves updated_at', async () => {
      const before = ok(await service.from('messages').insert(draft()).select().single());
      const rows = ok(await service.from('messages').update({ status: 'READ' }).eq('id', before.id).select());
      assert.equal(rows.length, 1);
      assert.deepEqual({ ...rows[0], updated_at: null }, { ...before, status: 'READ', updated_at: null });
      assert.ok(rows[0].updated_at > before.updated_at, `${rows[0].updated_at} > ${before.updated_at}`);
      assert.equal((await service.from('messages').update({ status: 'SENT' }).eq('id', before.id)).status, 204);
      assert.deepEqual(ok(await service.from('messages').update({ status: 'SENT' }).eq('id', randomUUID()).select()), []);
      assert.equal((await service.from('messages').update({ status: 'SENT' }, { count: 'exact' }).eq('id', before.id)).count, 1);
    });
    test('upsert merges', async () => {
      const id = randomUUID();
      const first = await service.from('messages').upsert(draft({ id, status: 'SENT' })).select('status').single();
      assert.deepEqual([first.status, first.data], [201, { status: 'SENT' }]);
      const second = await service.from('messages').upsert(draft({ id, status: 'READ' })).select('status').single();
      assert.deepEqual([second.status, second.data], [200, { status: 'READ' }]);
    });
    test('upsert by another key ignores or merges', async () => {
      const sid = `${mark}-sid`;
      const write = (content, options) =>
        service
          .from('messages')
          .upsert({ conversation_id: conversation, content: `${mark} ${content}`, external_message_id: sid }, { onConflict: 'external_message_id', ...options })
          .select('content');
      assert.deepEqual(ok(await write('one', { ignoreDuplicates: true })), [{ content: `${mark} one` }]);
      const again = await write('two', { ignoreDuplicates: true });
      assert.deepEqual([again.status, again.data], [201, []]);
      assert.deepEqual(ok(await write('three')), [{ content: `${mark} three` }]);
      assert.equal(refused(await service.from('messages').upsert(draft(), { onConflict: 'content' })).code, '42P10');
    });
    test('delete returns what is gone', async () => {
      const { id } = ok(await service.from('messages').insert(draft()).select().single());
      assert.deepEqual(ok(await service.from('messages').delete().eq('id', id).select('id')), [{ id }]);
      assert.equal((await service.from('messages').delete().eq('id', id)).status, 204);
      assert.equal((await service.from('messages').delete({ count: 'exact' }).eq('id', id)).count, 0);
    });
    test('writing to every row needs a filter', async () => {
      assert.deepEqual(refused(await service.from('messages').delete()).code, '21000');
      assert.deepEqual(refused(await service.from('messages').update({ status: 'READ' })).code, '21000');
    });
    test('a write that single() refuses did not happen', async () => {
      assert.equal(refused(await service.from('messages').update({ thread_position: 99 }).in('id', ids).select().single()).code, 'PGRST116');
      assert.deepEqual(await positions(six()), [0, 1, 2, 3, 4, 5]);
    });
  });

  describe('row security', () => {
    test('a user sees the rows of their tenant and no others', async () => {
      const seen = ok(await user.from('conversations').select('distributor_id'));
      assert.ok(seen.length > 0);
      assert.deepEqual([...new Set(seen.map((row) => row.distributor_id))], [ours]);
      assert.equal(ok(await user.from('messages').select('id').in('id', ids)).length, 6);
      assert.deepEqual(ok(await user.from('messages').select('id').eq('conversation_id', foreign)), []);
    });
    test('a user writes in their tenant only', async () => {
      const message = (conversation_id) => ({ conversation_id, content: `${mark} from a user` });
      const mine = ok(await user.from('messages').insert(message(conversation)).select().single());
      assert.equal(mine.conversation_id, conversation);
      assert.deepEqual(refused(await user.from('messages').insert(message(foreign))), {
        status: 403,
        code: '42501',
        message: 'new row violates row-level security policy for table "messages"',
        details: null,
        hint: null,
      });
      assert.equal(refused(await user.from('messages').update({ conversation_id: foreign }).eq('id', mine.id)).code, '42501');
      assert.deepEqual(ok(await user.from('messages').update({ content: 'x' }).eq('conversation_id', foreign).select()), []);
      assert.deepEqual(ok(await user.from('messages').delete().eq('conversation_id', foreign).select()), []);
    });
    test('anon sees and writes nothing', async () => {
      assert.deepEqual(ok(await anon.from('messages').select()), []);
      const { status, code } = refused(await anon.from('messages').insert({ conversation_id: conversation, content: mark }));
      assert.deepEqual([status, code], [401, '42501']);
    });
    test('a token that is not ours is refused', async () => {
      const { status, code } = refused(await client(url, anonKey, `${userToken}x`).from('messages').select());
      assert.deepEqual([status, code], [401, 'PGRST301']);
      assert.equal(refused(await client(url, 'nonsense').from('messages').select()).status, 401);
    });
  });

  describe('auth', () => {
    test('a user of the seed signs in, reads their own rows, and signs out', async () => {
      const { email } = JSON.parse(Buffer.from(userToken.split('.')[1], 'base64url'));
      const own = client(url, anonKey);
      const { data, error } = await own.auth.signInWithPassword({ email: email ?? 'ana@harbour.example', password: 'password' });
      assert.equal(error, null, JSON.stringify(error));
      assert.equal(data.user.app_metadata.distributor_id, ours);
      assert.equal(ok(await own.from('messages').select('id').in('id', ids)).length, 6);
      const { data: current } = await own.auth.getUser();
      assert.equal(current.user.id, data.user.id);
      const { data: renewed, error: stale } = await own.auth.refreshSession();
      assert.equal(stale, null, JSON.stringify(stale));
      assert.equal(renewed.user.id, data.user.id);
      assert.equal((await own.auth.signOut()).error, null);
      const wrong = await own.auth.signInWithPassword({ email: 'ana@harbour.example', password: 'nope' });
      assert.equal(wrong.error.code, 'invalid_credentials');
    });
  });
});
