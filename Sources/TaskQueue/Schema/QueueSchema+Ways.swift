extension QueueSchema {
  /// Step 6: lanes of several lines and priorities in one claim.
  static let ways = [
    // Tasks that were claimed and not begun go back without an attempt, each to its own lane, and others are told.
    """
    create or replace function millrace.release(from_lease bigint, released bigint[]) returns void
    language plpgsql as $$
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
        select case when k.lane % 8 = 7 then k.lane else t.lane end, nextval('millrace.task_id'), t.id
        from kept k cross join unnest(released) as u (id) join millrace.task t on t.id = u.id and t.state = 0
        returning lane
      )
      select array_agg(lane) into lanes from back;
      if lanes is not null then perform pg_notify('millrace_ready', ''); end if;
    end $$
    """
  ]
}
