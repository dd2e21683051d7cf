extension QueueSchema {
  /// Step 3, who sleeps. Idle rows bear the number of their announcement; see `WakeProtocol`.
  static let wakeUps = [
    "alter table millrace.idle_worker add column number bigint not null default 0",
    // Tells as many sleeping workers as wanted, each on a channel of its own: of those who do not listen there nobody
    // is woken. Whoever is woken sleeps no more, so that the next who has tasks wakes another one. A worker whose lock
    // can be had is dead, and notifying it would wake nobody.
    """
    create function millrace.tell(groups smallint[], tasks bigint[], workers bigint[]) returns void
    language plpgsql as $$
    declare told bigint[];
      notes text[];
    begin
      with wanted as materialized (
        select * from unnest(groups, tasks, workers) as w (slot_group, tasks, workers)
      ), chosen as materialized (
        select w.slot_group, w.tasks, i.worker_id from wanted w cross join lateral (
          select i.worker_id from millrace.idle_worker i
          where i.slot_group = w.slot_group
            and not pg_try_advisory_xact_lock_shared(1296649047, i.worker_id::integer)
          order by i.slot_group, i.worker_id limit w.workers for update skip locked) i
      ), woken as (
        delete from millrace.idle_worker d using chosen c
        where d.slot_group = c.slot_group and d.worker_id = c.worker_id
        returning d.worker_id, d.slot_group || ':' || c.tasks || ':' || d.number as note
      )
      select array_agg(worker_id), array_agg(note) into told, notes from woken;
      perform pg_notify('millrace_worker_' || worker_id, string_agg(note, ','))
        from unnest(told, notes) as u (worker_id, note) group by worker_id;
    end $$
    """,
  ]

  /// Step 3, who lives. A lane's last three bits are its priority; 7 is that of tasks whose worker was lost.
  static let lives = [
    "alter table millrace.worker add column beats bigint not null default 0",
    "alter table millrace.lease add column lane smallint not null default 1",
    // Takes leases away from whoever held them. The row lock of the delete waits for a completion that holds the lease
    // and is then too late, or wins and makes the completion find nothing: exactly one result is stored.
    //
    // A task that kills its worker must not take others with it. Whatever is lost is run alone from then on; and when a
    // worker is lost that ran such a task, only that one has lost an attempt.
    """
    create function millrace.rescue(leases bigint[]) returns bigint language plpgsql as $$
    declare rescued bigint;
    begin
      with gone as materialized (
        delete from millrace.lease where id = any(leases) returning worker_id, lane, ids
      ), lost as materialized (
        select unnest(g.ids) as id, g.lane % 8 = 7 or not exists (
          select from gone s where s.worker_id = g.worker_id and s.lane % 8 = 7) as is_suspect
        from gone g
      ), changed as (
        update millrace.task t set
          attempt = t.attempt + is_suspect::integer,
          state = case when is_suspect and t.attempt + 1 >= t.max_attempts then 3 else 0 end,
          finished_at = case when is_suspect and t.attempt + 1 >= t.max_attempts then now() end,
          payload = case when is_suspect and t.attempt + 1 >= t.max_attempts and t.secret then null else t.payload end,
          error = case when is_suspect then 'the worker that ran this task was lost' else t.error end
        from lost
        where t.id = lost.id and t.state = 0 and not exists (select from millrace.scheduled s where s.id = t.id)
        returning t.id, t.lane, t.state, is_suspect
      ), again as (
        insert into millrace.ready (lane, seq, id)
        select case when is_suspect then lane / 8 * 8 + 7 else lane end, nextval('millrace.task_id'), id
        from changed where state = 0
      )
      select count(*) into rescued from changed;
      return rescued;
    end $$
    """,
    // Says "alive" and tells what to worry about: workers whose session is gone or whose beat is late, when the next
    // scheduled task is due, and the oldest tasks in lanes of groups that sleep here.
    """
    create function millrace.beat(
      me bigint, my_name text, held bigint[], lease_seconds double precision, idle_groups smallint[],
      self_test boolean)
    returns table (uptime double precision, workers text, beats text, silent text, gone text,
      next_due double precision, ready_lanes text, ready_seqs text, rescued bigint)
    language plpgsql as $$
    begin
      insert into millrace.worker (id, name) overriding system value values (me, my_name)
        on conflict (id) do update set heartbeat_at = now(), beats = millrace.worker.beats + 1;
      uptime := extract(epoch from now() - pg_postmaster_start_time());
      select string_agg(id::text, ','), string_agg(count::text, ','), string_agg(since::text, ','),
          string_agg(is_gone::integer::text, ',')
        into workers, beats, silent, gone
        from (select w.id, w.beats as count, extract(epoch from now() - w.heartbeat_at) as since,
            pg_try_advisory_xact_lock_shared(1296649047, w.id::integer) as is_gone
          from millrace.worker w where w.id <> me) w
        where is_gone or since > 6;
      -- A lease of our own that we do not know of comes from a claim whose answer was lost, one of nobody from a worker
      -- that has left or was taken for dead.
      -- One that lives and was taken for dead is in the table again with its next beat.
      rescued := millrace.rescue(array(select l.id from millrace.lease l
        where l.worker_id = me and l.id <> all(held) and l.claimed_at < now() - make_interval(secs => lease_seconds)
          or l.claimed_at < now() - interval '7 seconds'
            and not exists (select from millrace.worker w where w.id = l.worker_id)));
      if rescued > 0 then perform pg_notify('millrace_ready', ''); end if;
      select extract(epoch from min(run_at) - now()) into next_due from millrace.scheduled;
      select string_agg(oldest.lane::text, ','), string_agg(oldest.seq::text, ',') into ready_lanes, ready_seqs
        from unnest(idle_groups) g cross join generate_series(0, 7) p cross join lateral (
          select r.lane, r.seq from millrace.ready r where r.lane = (g * 8 + p)::smallint
          order by r.lane, r.seq limit 1) oldest;
      if self_test then perform pg_notify('millrace_worker_' || me, 'self'); end if;
      return next;
    end $$
    """,
    // Takes over from workers that are judged to be dead, unless they have given a sign of life since. All others look:
    // the dead may have been told of tasks.
    """
    create function millrace.take_over(dead bigint[], seen_beats bigint[]) returns bigint language plpgsql as $$
    declare rescued bigint := 0;
    begin
      dead := array(select w.id from unnest(dead, seen_beats) as d (id, beats) join millrace.worker w
        on w.id = d.id and w.beats = d.beats order by w.id for update of w skip locked);
      if dead <> '{}' then
        -- One that lives all the same must know that its row is gone.
        perform millrace.mute(dead);
        delete from millrace.worker where id = any(dead);
        rescued := millrace.rescue(array(select id from millrace.lease where worker_id = any(dead)));
        perform pg_notify('millrace_ready', '');
      end if;
      return rescued;
    end $$
    """,
    // Workers that may be stopped must not be the ones that are notified. Should one live, it is told to look; the
    // others look at once, for it may have been notified in vain.
    """
    create function millrace.mute(silent bigint[]) returns void language plpgsql as $$
    declare told bigint[];
      notes text[];
    begin
      with gone as (
        delete from millrace.idle_worker where worker_id = any(silent) returning worker_id, slot_group, number
      )
      select array_agg(worker_id), array_agg(slot_group || ':1:' || number) into told, notes from gone;
      perform pg_notify('millrace_worker_' || worker_id, note) from unnest(told, notes) as u (worker_id, note);
      if told is not null then perform pg_notify('millrace_ready', ''); end if;
    end $$
    """,
    // What is due becomes ready; tells when the next is due.
    """
    create function millrace.promote() returns table (promoted bigint, next_due double precision)
    language plpgsql as $$
    declare lanes smallint[];
    begin
      with due as (
        delete from millrace.scheduled where id = any(array(
          select s.id from millrace.scheduled s where s.run_at <= now() order by s.run_at limit 500
          for update skip locked))
        returning id, lane
      ), moved as (
        insert into millrace.ready (lane, seq, id) select lane, nextval('millrace.task_id'), id from due returning lane
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
    // Tasks that were claimed and not begun go back without an attempt, and others are told.
    """
    create function millrace.release(from_lease bigint, released bigint[]) returns void language plpgsql as $$
    declare lanes smallint[];
    begin
      with kept as (
        select id, array(select unnest(ids) except select unnest(released)) as rest, lane
        from millrace.lease where id = from_lease for update
      ), shrunk as (
        update millrace.lease l set ids = k.rest from kept k where l.id = k.id and k.rest <> '{}'
      ), ended as (
        delete from millrace.lease l using kept k where l.id = k.id and k.rest = '{}'
      ), back as (
        insert into millrace.ready (lane, seq, id)
        select k.lane, nextval('millrace.task_id'), t.id
        from kept k cross join unnest(released) as u (id) join millrace.task t on t.id = u.id and t.state = 0
        returning lane
      )
      select array_agg(lane) into lanes from back;
      if lanes is not null then perform pg_notify('millrace_ready', ''); end if;
    end $$
    """,
    // Places in line and ids come from one sequence.
    """
    select setval('millrace.task_id', greatest(t.last_value, r.last_value) + 1)
    from millrace.task_id t, millrace.ready_seq r where r.is_called
    """,
    "drop sequence millrace.ready_seq",
  ]
}
