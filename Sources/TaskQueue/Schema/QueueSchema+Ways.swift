extension QueueSchema {
  /// Step 6: lanes of several lines and priorities in one claim, and what people want of tasks, kinds and workers.
  static let ways = [
    "alter table millrace.task add column progress real",
    "alter table millrace.task_past add column progress real",
    // What else was submitted with a key that a client has chosen; null for a key that follows from the task itself.
    "alter table millrace.unique_key add column fingerprint uuid",
    // What is wanted of all workers, and of one: 0 to run, 1 to finish and claim nothing more, 2 to stop.
    """
    create table millrace.kind_control (
      kind text primary key, is_paused boolean not null default false, running_max integer check (running_max >= 0)
    )
    """,
    "alter table millrace.worker add column wanted smallint not null default 0",
    // Ends a task that is not over, whether it waits or runs; whoever runs it is told, and comes too late with its
    // result in any case. Its place in line goes with it where that is known; what stands elsewhere is passed over by
    // whoever claims it. Who holds it is looked up last: whoever was claiming it has committed by then, as its place
    // could not be had before. Returns whether it did.
    """
    create function millrace.cancel(wanted bigint) returns boolean language plpgsql as $$
    declare
      its_lane smallint;
      holder record;
    begin
      update millrace.task t set state = 4, finished_at = now(), progress = null,
          payload = case when not t.secret then t.payload end
        where t.id = wanted and t.state = 0 returning t.lane into its_lane;
      if not found then return false; end if;
      delete from millrace.ready r where r.lane = its_lane and r.seq = wanted and r.id = wanted;
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
    // now. Those of older partitions may be moved at any moment to where nobody claims, and stay as they are. Returns
    // which were begun.
    """
    create function millrace.retry(wanted bigint[]) returns setof bigint language plpgsql as $$
    declare
      begun bigint[];
      left_over bigint[];
    begin
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
        insert into millrace.ready (lane, seq, id)
        select case when k.lane % 8 = 7 then k.lane else t.lane end, nextval('millrace.task_id'), t.id
        from kept k cross join unnest(released) as u (id) join millrace.task t on t.id = u.id and t.state = 0
        where u.id = any(k.ids)
        returning lane
      )
      select array_agg(lane) into lanes from back;
      if lanes is not null then perform pg_notify('millrace_ready', ''); end if;
    end $$
    """,
  ]
}
