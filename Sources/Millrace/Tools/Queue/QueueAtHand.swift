import Glibc
import Postgres
import TaskQueue

extension Configuration {
  /// The queue that is configured, or else that of the system that runs in this folder: over one connection, and
  /// without patience, since a person waits.
  var queueAtHand: QueueConfiguration {
    var queue = QueueConfiguration()
    queue.postgres = postgres
    queue.postgres.connectionRetries = 0
    queue.width = 1
    guard source(of: .databaseHost) == .byDefault, let folder = ownServer else { return queue }
    queue.postgres.hosts = [folder]
    (queue.postgres.user, queue.postgres.database, queue.postgres.password) = ("millrace", "millrace", nil)
    queue.postgres.port = 5432
    return queue
  }

  /// Whether somebody has said where the queue is.
  var namesQueue: Bool { source(of: .databaseHost) != .byDefault }

  /// Whether there is any such queue.
  var hasQueueAtHand: Bool { namesQueue || ownServer != nil }

  /// The folder with the socket of the server that `up` has started, nil if there is none.
  private var ownServer: String? {
    let run = (text(.dataFolder) ?? "") + "/run"
    return access(run + "/.s.PGSQL.5432", F_OK) == 0 ? Files.absolute(run) : nil
  }
}
