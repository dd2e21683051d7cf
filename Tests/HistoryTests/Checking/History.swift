// HistoryTests: the queue's promises I1 to I5, proven over records of what happened while something was broken.
//
// A `Stage` has a PostgreSQL of its own and real processes, which a test breaks; `Clients` write down what they were
// told, and triggers that only these tests have (`Recorder`) what every transaction changed. `HistoryChecker` then says
// what of that must not have been: it knows neither what was broken nor how, and is itself tested with stories into
// which faults are planted.
//
//   Checking   History, its checker, and the stories that the checker is tested with
//   Stage      PostgreSQL, processes, clients, and a relay that loses what it is told to lose
//   Faults     what is broken, a test each: `swift test --filter HistoryTests.WorkerLossTests`

/// What was seen of one queue: by the database, in the order of the commits, and by its clients.
struct History: Sendable {
  /// A task's row, as far as it is promised anything of.
  struct Row: Equatable, Sendable {
    var state = State.queued
    /// Attempts that are over.
    var attempt = 0
    /// The result, or the last error.
    var outcome = ""
  }

  /// As the tables have it: one that runs is queued.
  enum State: Int, Sendable {
    case queued = 0
    case completed = 2
    case failed = 3
    case cancelled = 4

    var isTerminal: Bool { self != .queued }
  }

  /// What a transaction did to one row.
  enum Change: Equatable, Sendable {
    case inserted(task: Int64, name: String)
    case updated(task: Int64, from: Row, to: Row)
    case removed(task: Int64)
    /// Into the line, and out of it.
    case placed(task: Int64, lane: Int, seq: Int64)
    case taken(task: Int64, lane: Int, seq: Int64)
    /// To be tried at a later time, and no more.
    case postponed(task: Int64)
    case recalled(task: Int64)
    case leased(lease: Int64, tasks: [Int64])
    case cut(lease: Int64, left: [Int64])
    case ended(lease: Int64)
  }

  /// A transaction.
  struct Commit: Sendable {
    /// The process that it was of.
    var by: String
    /// When its last statement that changed anything began, and when it was committed, in microseconds.
    var began: Int64
    var at: Int64
    var changes: [Change]
  }

  /// What a client was told of a task that it wanted to have run.
  struct Submission: Sendable {
    enum Answer: Equatable, Sendable {
      case acknowledged(task: Int64)
      /// It is over already, and this is the result.
      case done(result: String)
      case refused
      /// There was no answer, or one that leaves it open.
      case unknown
    }

    /// What the task is known by: its input.
    var name: String
    var answer: Answer
  }

  /// What a client saw of a task between two moments of one clock.
  struct Look: Sendable {
    struct Sight: Equatable, Sendable {
      var status: String
      /// Attempts, of which one that runs is not over.
      var attempts: Int
      var outcome: String
    }

    var task: Int64
    var began: Int
    var ended: Int
    /// Nil if there was no such task.
    var sight: Sight?
  }

  var commits: [Commit] = []
  var submissions: [Submission] = []
  var looks: [Look] = []
}

extension History.Look.Sight {
  var state: History.State {
    switch status {
    case "completed": .completed
    case "failed": .failed
    case "cancelled": .cancelled
    default: .queued
    }
  }

  /// Attempts that are over.
  var attemptsOver: Int { status == "running" ? attempts - 1 : attempts }
}
