import Postgres

/// What people want at present: of all workers for each kind of task, and of one worker.
public struct QueueOrders: Sendable, Equatable {
  /// What is wanted for one kind.
  public struct Kind: Sendable, Equatable {
    /// Whether none of its tasks is to be begun.
    public var isPaused: Bool
    /// How many of its tasks may run at once, over all workers; nil for as many as there are slots.
    public var runningMax: Int32?

    /// An order; see the properties.
    public init(isPaused: Bool = false, runningMax: Int32? = nil) {
      self.isPaused = isPaused
      self.runningMax = runningMax
    }
  }

  /// What is wanted of a worker.
  public enum Wanted: Int16, Sendable {
    /// To run tasks.
    case run = 0
    /// To finish what it has begun and claim nothing more, until it is told otherwise.
    case quiet = 1
    /// To end.
    case stop = 2
  }

  /// The kinds for which there is an order, by name.
  public var kinds: [String: Kind] = [:]
  /// What is wanted of this worker.
  public var wanted = Wanted.run
  /// How many slots of each class may claim in this worker, of those that claim one task at a time; nil for all.
  public var slotsMax: Int32?

  /// No orders: everybody runs everything.
  public init() {}

  static let statement = PostgresStatement(
    "worker_orders",
    """
    select kind, is_paused, running_max::bigint, 0::smallint from millrace.kind_control
    union all select null, false, c.slots_max::bigint, coalesce(c.wanted, w.wanted, 0::smallint)
      from (select $1::bigint as id) me left join millrace.worker w on w.id = me.id
        left join millrace.worker_control c on c.worker_id = me.id
    """)

  /// What the rows of `statement` say.
  static func read(_ result: PostgresResult) -> QueueOrders {
    var orders = QueueOrders()
    for row in 0..<result.rowCount {
      let most = result.isNull(row, 2) ? nil : Int32(truncatingIfNeeded: result.int64(row, 2))
      if let kind = result.text(row, 0) {
        orders.kinds[kind] = Kind(isPaused: result.bool(row, 1), runningMax: most)
      } else {
        orders.wanted = Wanted(rawValue: result.int16(row, 3)) ?? .run
        orders.slotsMax = most
      }
    }
    return orders
  }
}
