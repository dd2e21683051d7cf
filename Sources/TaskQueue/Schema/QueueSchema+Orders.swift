extension QueueSchema {
  /// Step 7: orders to a worker that outlast its row, and how much it runs at once.
  static let orders = [
    // A worker that was taken for dead and lives is in the table again with its next beat, as one without orders: what
    // people want of it stands apart. 0 to run, 1 to finish and claim nothing more, 2 to stop; and how many slots of a
    // class whose tasks are claimed one by one may claim.
    """
    create table millrace.worker_control (
      worker_id bigint primary key, wanted smallint not null default 0,
      slots_max integer check (slots_max >= 0), given_at timestamptz not null default now()
    )
    """
  ]
}
