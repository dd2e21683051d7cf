public import Hashing

/// What is configured for kinds of tasks.
public struct TaskParameters: Sendable {
  /// The cost of argon2id.
  public var argon2: Argon2Parameters

  /// Parameters with this cost of argon2id.
  public init(argon2: Argon2Parameters = Argon2Parameters()) {
    self.argon2 = argon2
  }
}
