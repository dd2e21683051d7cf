extension QueueSchema {
  /// Step 8: a row in line stands for many tasks.
  static let batches = [
    // What workers of before claim is no table any more. They finish what they have, and claim nothing more, so that
    // nobody wakes one of them in vain. What was said to them apart from their rows outlasts these. First of all, for
    // a beat, too, goes to workers before it goes to what is ready.
    "update millrace.worker set wanted = 1 where wanted = 0 and not has_left",
    """
    insert into millrace.worker_control as c (worker_id, wanted)
      select id, 1 from millrace.worker where wanted = 1 and not has_left
      on conflict (worker_id) do update set wanted = 1, given_at = now() where coalesce(c.wanted, 0) = 0
    """,
    "select pg_notify('millrace_ready', 'orders')",
    // Of what PostgreSQL wrote for a small task more than a quarter was its place in line: a row, its entry in the
    // index, a lock and a deletion. A row of the line now stands for tasks that were submitted together, few beside
    // what a claim takes at once; where tasks are claimed one by one or by the dozen, each has its own. Numbers in a
    // row ascend, and a row of several bears the first of them as its place. Nothing depends on statistics of them.
    "alter table millrace.ready rename to ready_batch",
    "alter table millrace.ready_batch rename constraint ready_pkey to ready_batch_pkey",
    "alter table millrace.ready_batch alter column id type bigint[] using array[id]",
    "alter table millrace.ready_batch rename column id to ids",
    "alter table millrace.ready_batch alter column ids set statistics 0",
    // Which tasks are ready, for whoever asks about one, and for programs of before, which put them in so.
    """
    create view millrace.ready as
      select b.lane, b.seq, u.id from millrace.ready_batch b cross join unnest(b.ids) as u (id)
    """,
    """
    create function millrace.make_ready() returns trigger language plpgsql as $$
    begin
      insert into millrace.ready_batch (lane, seq, ids) values (new.lane, new.seq, array[new.id]);
      return new;
    end $$
    """,
    // Which worker makes room for a task that must run alone, and how long it may: one at a time, or nobody would do
    // anything else. A row that passes by itself, lest one that is stopped in the middle keeps everybody from it.
    """
    create table millrace.sole_turn (
      is_only boolean primary key default true check (is_only), worker_id bigint not null,
      is_alone boolean not null, ends_at timestamptz not null
    ) with (fillfactor = 50)
    """,
    "create trigger one_by_one instead of insert on millrace.ready for each row execute function millrace.make_ready()",
    // Takes `wanted` tasks out of the line, lane after lane, each from its floor on, and leases them. Whether a row is
    // taken is decided by its place alone, and rows that others hold are passed over. They are fetched one by one, for
    // each that is looked at is locked. Where the last one makes it too many it is taken all the same, if it is at most
    // a sixteenth of what is wanted; what is left of a larger one stays behind, at the place of its first. The lease's
    // time is not that of the transaction, which may have waited for completions while tasks came that it claims. What
    // is not there any more is returned as cancelled.
    """
    create function millrace.claim(worker bigint, lanes smallint[], floors bigint[], wanted integer)
    returns table (lease bigint, place bigint, id bigint, kind text, payload bytea, attempt smallint,
      max_attempts smallint, trace text, lane smallint, state smallint, created_at timestamptz, claimed_at timestamptz)
    language plpgsql as $$
    #variable_conflict use_column
    declare
      looking no scroll cursor for
        select b.ctid, b.lane, b.seq, b.ids from unnest(lanes, floors) as l (lane, floor) cross join lateral (
          select r.ctid, r.lane, r.seq, r.ids from millrace.ready_batch r where r.lane = l.lane and r.seq >= l.floor
          order by r.lane, r.seq for update skip locked) b;
      batch record;
      whole tid[] := '{}';
      part bigint[];
      missing integer := wanted;
    begin
      open looking;
      while missing > 0 loop
        fetch looking into batch;
        exit when not found;
        if cardinality(batch.ids) > missing and cardinality(batch.ids) * 16 > wanted then
          part := batch.ids[:missing];
          update millrace.ready_batch r set seq = r.ids[missing + 1], ids = r.ids[missing + 1:]
            where r.ctid = batch.ctid;
          exit;
        end if;
        whole := whole || batch.ctid;
        missing := missing - cardinality(batch.ids);
      end loop;
      close looking;
      if part is null and whole = '{}' then return; end if;
      return query
      with taken as materialized (
        delete from millrace.ready_batch r where r.ctid = any(whole) returning r.lane, r.seq, r.ids
      ), picked as materialized (
        select t.lane, t.seq, u.id from taken t cross join unnest(t.ids) as u (id)
        union all select batch.lane, batch.seq, u.id from unnest(part) as u (id)
      ), leased as materialized (
        insert into millrace.lease as k (worker_id, lane, ids, claimed_at)
        select worker, min(p.lane), array_agg(p.id), clock_timestamp() from picked p
        returning k.id, k.claimed_at
      )
      select l.id, p.seq, p.id, t.kind, t.payload, t.attempt, t.max_attempts, t.trace, p.lane,
        coalesce(t.state, 4::smallint), t.created_at, l.claimed_at
      from picked p cross join leased l
        left join lateral (select * from millrace.task t where t.id = p.id offset 0) t on true;
    end $$
    """,
  ]

  /// Step 8, whatever puts tasks back in line, each in a row of its own, or takes them out.
  static let placesOfTheirOwn = [
    // Takes leases away from whoever held them. The row lock of the delete waits for a completion that holds the lease
    // and is then too late, or wins and makes the completion find nothing: exactly one result is stored.
    //
    // A task that kills its worker must not take others with it. Whatever is lost is a suspect from then on, of which a
    // worker runs one at a time beside what is none. When a worker is lost that ran a suspect, that one alone has lost
    // an attempt; but what was beside it is a suspect as well then, for it may be another that kills.
    """
    create or replace function millrace.rescue(leases bigint[]) returns bigint language plpgsql as $$
    declare rescued bigint;
    begin
      with gone as materialized (
        delete from millrace.lease where id = any(leases) returning worker_id, lane, ids
      ), lost as materialized (
        select unnest(g.ids) as id, g.lane % 8 = 7 or not exists (
          select from gone s where s.worker_id = g.worker_id and s.lane % 8 = 7) as is_blamed
        from gone g
      ), changed as (
        update millrace.task t set
          attempt = t.attempt + is_blamed::integer,
          state = case when is_blamed and t.attempt + 1 >= t.max_attempts then 3 else 0 end,
          finished_at = case when is_blamed and t.attempt + 1 >= t.max_attempts then now() end,
          payload = case when is_blamed and t.attempt + 1 >= t.max_attempts and t.secret then null else t.payload end,
          error = case when is_blamed then 'the worker that ran this task was lost' else t.error end
        from lost
        where t.id = lost.id and t.state = 0 and not exists (select from millrace.scheduled s where s.id = t.id)
        returning t.id, t.lane, t.state
      ), again as (
        insert into millrace.ready_batch (lane, seq, ids)
        select lane / 8 * 8 + 7, nextval('millrace.task_id'), array[id] from changed where state = 0
      )
      select count(*) into rescued from changed;
      return rescued;
    end $$
    """,
    // What is due becomes ready; tells when the next is due.
    """
    create or replace function millrace.promote() returns table (promoted bigint, next_due double precision)
    language plpgsql as $$
    declare lanes smallint[];
    begin
      with due as (
        delete from millrace.scheduled where id = any(array(
          select s.id from millrace.scheduled s where s.run_at <= now() order by s.run_at limit 500
          for update skip locked))
        returning id, lane
      ), moved as (
        insert into millrace.ready_batch (lane, seq, ids)
        select lane, nextval('millrace.task_id'), array[id] from due returning lane
      )
      select array_agg(lane) into lanes from moved;
      promoted := coalesce(cardinality(lanes), 0);
      -- At the commit everybody is told to look. Who sleeps could not be asked before it: a worker that announces
      -- itself meanwhile would neither be seen nor see these tasks.
      if promoted > 0 then perform pg_notify('millrace_ready', ''); end if;
      select extract(epoch from min(run_at) - now()) into next_due from millrace.scheduled;
      return next;
    end $$
    """,
    // Tasks that were claimed and not begun, and that the lease still stands for, go back without an attempt, each to
    // its own lane, and others are told.
    """
    create or replace function millrace.release(from_lease bigint, released bigint[]) returns void
    language plpgsql as $$
    declare lanes smallint[];
    begin
      with kept as (
        select id, ids, array(select unnest(ids) except select unnest(released)) as rest, lane
        from millrace.lease where id = from_lease for update
      ), shrunk as (
        update millrace.lease l set ids = k.rest from kept k where l.id = k.id and k.rest <> '{}'
      ), ended as (
        delete from millrace.lease l using kept k where l.id = k.id and k.rest = '{}'
      ), back as (
        insert into millrace.ready_batch (lane, seq, ids)
        select case when k.lane % 8 = 7 then k.lane else t.lane end, nextval('millrace.task_id'), array[t.id]
        from kept k cross join unnest(released) as u (id) join millrace.task t on t.id = u.id and t.state = 0
        where u.id = any(k.ids)
        returning lane
      )
      select array_agg(lane) into lanes from back;
      if lanes is not null then perform pg_notify('millrace_ready', ''); end if;
    end $$
    """,
    // Ends a task that is not over, whether it waits or runs; whoever runs it is told, and comes too late with its
    // result in any case. Its place in line goes with it where that is known, and that of a suspect is looked for: as
    // long as one waits a place may be kept for it. Of those that were submitted together it is looked for in the rows
    // that begin shortly before it, and everybody is told to look again: until the commit the others of its row are
    // passed over. What stands elsewhere is passed over by whoever claims it. Who holds it is looked up last: whoever
    // was claiming it has committed by then, as its place could not be had before. Returns whether it did.
    """
    create or replace function millrace.cancel(wanted bigint) returns boolean language plpgsql as $$
    declare
      its_lane smallint;
      place tid;
      holder record;
    begin
      update millrace.task t set state = 4, finished_at = now(), progress = null,
          payload = case when not t.secret then t.payload end
        where t.id = wanted and t.state = 0 returning t.lane into its_lane;
      if not found then return false; end if;
      delete from millrace.ready_batch r where r.lane = its_lane and r.seq = wanted and r.ids = array[wanted];
      if found then return true; end if;
      -- Others may have been waited for that took out of the row what it had: how much is in it is seen afterwards.
      place := (select r.ctid from millrace.ready_batch r
        where r.lane = its_lane and r.seq between wanted - 1000 and wanted and wanted = any(r.ids) limit 1 for update);
      if place is not null then
        delete from millrace.ready_batch r where r.ctid = place and r.ids = array[wanted];
        update millrace.ready_batch r set seq = (array_remove(r.ids, wanted))[1], ids = array_remove(r.ids, wanted)
          where r.ctid = place;
        if found then perform pg_notify('millrace_ready', ''); end if;
        return true;
      end if;
      delete from millrace.ready_batch r where r.lane = (its_lane / 8 * 8 + 7)::smallint and r.ids = array[wanted];
      if found then
        -- What was kept for it is free.
        perform pg_notify('millrace_ready', '');
        return true;
      end if;
      delete from millrace.scheduled where id = wanted;
      if found then return true; end if;
      select l.worker_id, l.claimed_at into holder from millrace.lease l where wanted = any(l.ids)
        order by l.id desc limit 1;
      if found then
        update millrace.task t set started_at = holder.claimed_at, attempt = t.attempt + 1 where t.id = wanted;
        perform pg_notify('millrace_worker_' || holder.worker_id, 'cancel:' || wanted);
      end if;
      return true;
    end $$
    """,
    // Begins tasks anew that failed or were cancelled and whose input is still there. Of one that was cancelled a place
    // in line or a lease may be left: with them it would be run twice, and a result of before would be taken for one of
    // now. Leases are locked before tasks, as completions do it, one of which is about to come of a task that was just
    // cancelled; and rows of the line before it is seen what is left in them. Those of older partitions may be moved at
    // any moment to where nobody claims, and stay as they are. Returns which were begun.
    """
    create or replace function millrace.retry(wanted bigint[]) returns setof bigint language plpgsql as $$
    declare
      begun bigint[];
      left_over bigint[];
      places tid[];
    begin
      perform from millrace.lease l where l.ids && wanted order by l.id for update;
      begun := array(select t.id from millrace.task t
        where t.id in (select unnest(wanted)) and t.state in (3, 4) and t.payload is not null
          and t.id >= ((select last_value from millrace.task_id) / 5000000 - 1) * 5000000
        order by t.id for update);
      left_over := array(select t.id from millrace.task t where t.id in (select unnest(begun)) and t.state = 4);
      if left_over <> '{}' then
        places := array(select r.ctid from millrace.ready_batch r where case when cardinality(left_over) <= 8
          then r.ids && left_over
          else exists (select from unnest(r.ids) as u (id) where (u.id in (select unnest(left_over))) is true) end
          order by r.lane, r.seq for update);
        delete from millrace.ready_batch r where r.ctid = any(places) and not exists (
          select from unnest(r.ids) as u (id) where (u.id in (select unnest(left_over))) is not true);
        update millrace.ready_batch r set
            seq = (select min(u.id) from unnest(r.ids) as u (id)
              where (u.id in (select unnest(left_over))) is not true),
            ids = array(select u.id from unnest(r.ids) as u (id)
              where (u.id in (select unnest(left_over))) is not true order by u.id)
          where r.ctid = any(places);
        update millrace.lease l set ids = array(select unnest(l.ids) except select unnest(left_over))
          where l.ids && left_over;
        delete from millrace.lease l where l.ids = '{}';
      end if;
      update millrace.task t set state = 0, attempt = 0, progress = null, started_at = null, finished_at = null
        where t.id in (select unnest(begun));
      insert into millrace.ready_batch (lane, seq, ids)
        select t.lane, nextval('millrace.task_id'), array[t.id] from millrace.task t
        where t.id in (select unnest(begun));
      if begun <> '{}' then perform pg_notify('millrace_ready', ''); end if;
      return query select unnest(begun);
    end $$
    """,
  ]
}
