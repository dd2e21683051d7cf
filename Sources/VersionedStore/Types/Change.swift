public import Basics

/// What a client wants changed, whole or not at all: one key, or a batch of several.
public struct Change: Sendable {
  /// What is done to a key.
  public enum Action: Equatable, Sendable {
    /// A new value, for ever or for a time.
    case put([UInt8], lifetime: TimeSpan?)
    /// A deletion as a new version.
    case delete
    /// A deletion with which all versions before it go.
    case purge
    /// A deletion of what is past its time; nothing is done to what is not.
    case expire
  }

  /// A key and what is done to it.
  public struct Step: Sendable {
    /// The key.
    public let key: StoreKey
    /// What is done.
    public let action: Action
    /// Under which condition.
    public let condition: Condition

    /// Does `action` to `key`.
    public init(_ key: StoreKey, _ action: Action, if condition: Condition = Condition()) {
      (self.key, self.action, self.condition) = (key, action, condition)
    }

    var bytes: Int { if case .put(let value, _) = action { value.count } else { 0 } }
  }

  /// The name under which a client may send a change twice, and what tells it from other changes.
  public struct Name: Equatable, Sendable {
    let name: [UInt8]
    let fingerprint: [UInt8]

    /// The change that the client calls `name`; two with one `fingerprint` are the same.
    public init(_ name: [UInt8], fingerprint: [UInt8]) {
      (self.name, self.fingerprint) = (name, fingerprint)
    }
  }

  /// No key stands in two of them.
  public let steps: [Step]
  let name: Name?

  /// All of `steps`, whose keys are of one partition.
  public init(_ steps: [Step], name: Name? = nil) {
    precondition(!steps.isEmpty && steps.count <= Limits.stepsMax, "a change of no steps or too many")
    (self.steps, self.name) = (steps, name)
  }

  var bytes: Int { steps.reduce(0) { $0 + $1.bytes } }
}

/// What must be true of a key for something to be done to it (RFC 9110 §13.1).
public struct Condition: Equatable, Sendable {
  /// Versions of a key.
  public enum Versions: Equatable, Sendable {
    /// Whichever there is.
    case any
    /// One of these.
    case these([Int64])

    func contains(_ version: Int64?) -> Bool {
      guard let version else { return false }
      switch self {
      case .any: return true
      case .these(let versions): return versions.contains(version)
      }
    }
  }

  /// The key must have one of these.
  public var match: Versions?
  /// The key may have none of these.
  public var noneMatch: Versions?

  /// None.
  public init(match: Versions? = nil, noneMatch: Versions? = nil) {
    (self.match, self.noneMatch) = (match, noneMatch)
  }

  /// Whether it is met by a key whose value is that of `version`, nil for one without a value.
  public func isMet(by version: Int64?) -> Bool {
    if let match, !match.contains(version) { return false }
    return noneMatch?.contains(version) != true
  }
}

/// What became of a change.
public enum ChangeOutcome: Equatable, Sendable {
  /// What became of each step; `isReplayed` if that was so before, when the client sent it for the first time.
  case done([StepResult], isReplayed: Bool)
  /// The condition of a step was not met: what the key has, nil if nothing.
  case refused(step: Int, current: StoredVersion?)
  /// A step would delete what is not there.
  case missing(step: Int)
  /// The name of the change stands for another one.
  case conflict
}

/// What became of a step.
public struct StepResult: Equatable, Sendable {
  /// What was done.
  public enum Operation: String, Sendable {
    case create, update, delete
  }

  /// What was done.
  public let operation: Operation
  /// The version that the key has now,
  public let version: Int64
  /// the one before, 0 if there was none,
  public let previous: Int64
  /// and how many of its versions are kept.
  public let kept: Int64
  /// Which change of the partition it was.
  public let revision: Int64
  /// When.
  public let timestamp: Timestamp
  let expiry: Timestamp?

  /// As text, to be remembered with the name of the change.
  var text: String {
    "\(operation.rawValue) \(version) \(previous) \(kept) \(revision) \(timestamp.microseconds) "
      + (expiry.map { "\($0.microseconds)" } ?? "-")
  }

  init(
    _ operation: Operation, version: Int64, previous: Int64, kept: Int64, revision: Int64, timestamp: Timestamp,
    expiry: Timestamp?
  ) {
    (self.operation, self.version, self.previous, self.kept) = (operation, version, previous, kept)
    (self.revision, self.timestamp, self.expiry) = (revision, timestamp, expiry)
  }

  /// Reads what `text` has written; nil for anything else.
  init?(text: Substring) {
    let words = text.split(separator: " ")
    guard words.count == 7, let operation = Operation(rawValue: String(words[0])), let version = Int64(words[1]),
      let previous = Int64(words[2]), let kept = Int64(words[3]), let revision = Int64(words[4]),
      let time = Int64(words[5])
    else { return nil }
    self.init(
      operation, version: version, previous: previous, kept: kept, revision: revision,
      timestamp: Timestamp(microseconds: time), expiry: Int64(words[6]).map { Timestamp(microseconds: $0) })
  }
}
