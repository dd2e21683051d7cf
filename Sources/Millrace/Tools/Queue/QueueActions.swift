/// What `millrace tasks` can do, as its first operand.
enum TasksAction: String, CaseIterable {
  case ls, show, watch, cancel, retry, purge
}

/// What `millrace queue` can do.
enum QueueAction: String, CaseIterable {
  case stats, pause, resume, limit
}

/// What `millrace workers` can do.
enum WorkersAction: String, CaseIterable {
  case ls, quiet, resume, limit, stop
}
