extension QueueSchema {
  /// Step 7: orders to a worker that outlast its row and say how much it runs at once; whatever is lost becomes a
  /// suspect.
  static let orders = [
    // A worker that was taken for dead and lives is in the table again with its next beat, as one without orders: what
    // people want of it stands apart. 0 to run, 1 to finish and claim nothing more, 2 to stop, null for what stands in
    // its row; and how many slots of a class whose tasks are claimed one by one may claim.
    """
    create table millrace.worker_control (
      worker_id bigint primary key, wanted smallint, slots_max integer check (slots_max >= 0),
      given_at timestamptz not null default now()
    )
    """,
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
        insert into millrace.ready (lane, seq, id)
        select lane / 8 * 8 + 7, nextval('millrace.task_id'), id from changed where state = 0
      )
      select count(*) into rescued from changed;
      return rescued;
    end $$
    """,
    // Ends a task that is not over, whether it waits or runs; whoever runs it is told, and comes too late with its
    // result in any case. Its place in line goes with it where that is known, and that of a suspect is looked for: as
    // long as one waits a place may be kept for it. What stands elsewhere is passed over by whoever claims it. Who
    // holds it is looked up last: whoever was claiming it has committed by then, as its place could not be had before.
    // Returns whether it did.
    """
    create or replace function millrace.cancel(wanted bigint) returns boolean language plpgsql as $$
    declare
      its_lane smallint;
      holder record;
    begin
      update millrace.task t set state = 4, finished_at = now(), progress = null,
          payload = case when not t.secret then t.payload end
        where t.id = wanted and t.state = 0 returning t.lane into its_lane;
      if not found then return false; end if;
      delete from millrace.ready r where r.lane = its_lane and r.seq = wanted and r.id = wanted;
      if found then return true; end if;
      delete from millrace.ready r where r.lane = (its_lane / 8 * 8 + 7)::smallint and r.id = wanted;
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
    // cancelled. Those of older partitions may be moved at any moment to where nobody claims, and stay as they are.
    // Returns which were begun.
    """
    create or replace function millrace.retry(wanted bigint[]) returns setof bigint language plpgsql as $$
    declare
      begun bigint[];
      left_over bigint[];
    begin
      perform from millrace.lease l where l.ids && wanted order by l.id for update;
      begun := array(select t.id from millrace.task t
        where t.id in (select unnest(wanted)) and t.state in (3, 4) and t.payload is not null
          and t.id >= ((select last_value from millrace.task_id) / 5000000 - 1) * 5000000
        order by t.id for update);
      left_over := array(select t.id from millrace.task t where t.id in (select unnest(begun)) and t.state = 4);
      if left_over <> '{}' then
        delete from millrace.ready r where r.id in (select unnest(left_over));
        update millrace.lease l set ids = array(select unnest(l.ids) except select unnest(left_over))
          where l.ids && left_over;
        delete from millrace.lease l where l.ids = '{}';
      end if;
      update millrace.task t set state = 0, attempt = 0, progress = null, started_at = null, finished_at = null
        where t.id in (select unnest(begun));
      insert into millrace.ready (lane, seq, id)
        select t.lane, nextval('millrace.task_id'), t.id from millrace.task t where t.id in (select unnest(begun));
      if begun <> '{}' then perform pg_notify('millrace_ready', ''); end if;
      return query select unnest(begun);
    end $$
    """,
  ]
}
