import Postgres

extension PostgresEngine {
  static let opening = PostgresStatement(
    "kv_open", "select revision from millrace.kv_partition where number = $1::integer")

  static let applying = PostgresStatement(
    "kv_apply",
    """
    select kind, step, outcome, o_version, o_revision, o_created, o_expires, o_value, newest
    from millrace.kv_apply($1::integer, $2::bigint, $3::bigint[], $4::bytea[], $5::smallint[], $6::bytea[],
      $7::bigint[], $8::text[], $9::text[], $10::bytea[], $11::bytea[])
    """)

  static let looking = PostgresStatement(
    "kv_get",
    """
    select i.latest, i.oldest, v.version, v.revision, v.created, v.expires, v.value
    from millrace.kv_item i left join millrace.kv_version v
      on v.item = i.id and v.version = case when $3::bigint = 0 then i.latest else $3::bigint end
    where i.partition = $1::integer and i.key = ($2::bytea[])[1]
    """)

  /// Up to so many bytes, but for those of the last one.
  static let past = PostgresStatement(
    "kv_history",
    """
    select version, revision, created, expires, value from (
      select v.*, sum(coalesce(length(v.value), 0)) over (order by v.version desc) - coalesce(length(v.value), 0)
        as before
      from millrace.kv_item i join millrace.kv_version v on v.item = i.id
      where i.partition = $1::integer and i.key = ($2::bytea[])[1] and v.version < $3::bigint
      order by v.version desc limit $4::bigint
    ) page where before < $5::bigint order by version desc
    """)

  static let listing = PostgresStatement(
    "kv_keys",
    """
    select i.key, i.latest, v.created
    from millrace.kv_item i join millrace.kv_version v on v.item = i.id and v.version = i.latest
    where i.partition = $1::integer and i.key >= ($2::bytea[])[1] and i.key > ($2::bytea[])[3]
      and (($2::bytea[])[2] is null or i.key < ($2::bytea[])[2])
      and i.is_live and (i.expires is null or i.expires > millrace.kv_clock())
    order by i.key limit $3::bigint
    """)

  /// The state of the partition stands in each row, also in the only one where nothing has happened: all is of one
  /// moment.
  static let news = PostgresStatement(
    "kv_events",
    """
    with found as (
      select i.key, v.version, v.revision, v.created, v.expires, v.value,
        sum(coalesce(length(v.value), 0)) over (order by v.revision) - coalesce(length(v.value), 0) as before
      from millrace.kv_version v join millrace.kv_item i on i.id = v.item
      where v.partition = $1::integer and v.revision > $3::bigint and v.revision <= $3::bigint + $4::bigint
        and i.key >= ($2::bytea[])[1] and (($2::bytea[])[2] is null or i.key < ($2::bytea[])[2])
    )
    select p.revision, p.compacted, (select count(*) from found), f.key, f.version, f.revision, f.created, f.expires,
      f.value
    from millrace.kv_partition p left join found f on f.before < $5::bigint
    where p.number = $1::integer order by f.revision
    """)

  /// How long it is until the next value ends stands in each row.
  static let expiring = PostgresStatement(
    "kv_expired",
    """
    with next as (
      select min(expires) - millrace.kv_clock() as span from millrace.kv_item
      where partition = $1::integer and expires is not null
    )
    select next.span, due.key from next left join lateral (
      select key from millrace.kv_item
      where partition = $1::integer and expires <= millrace.kv_clock() and is_live limit $2::bigint
    ) due on true
    """)

  static let counting = PostgresStatement(
    "kv_figures",
    """
    select (select count(*) from millrace.kv_item where partition = $1::integer and is_live
        and (expires is null or expires > millrace.kv_clock())),
      (select count(*) from millrace.kv_version where partition = $1::integer),
      case when $1::integer = 0
        then pg_total_relation_size('millrace.kv_item') + pg_total_relation_size('millrace.kv_version') else 0 end
    """)

  static let forgetting = PostgresStatement(
    "kv_forget",
    """
    with forgotten as (
      delete from millrace.kv_change where partition = $1::integer and name in (
        select name from millrace.kv_change
        where partition = $1::integer and created < millrace.kv_clock() - $2::bigint order by created limit $3::bigint)
      returning name
    ) select count(*) from forgotten
    """)
}
