/// When a request may be sent again, as a table.
///
/// What provably nobody has read may go anywhere, whatever its method, and costs nothing: it is no additional load.
/// What may have been read is repeated only if that means the same as once (RFC 9110 §9.2.2), within the retry budget.
/// Once a backend has said anything, the request is its own.
enum RetryRules {
  /// What a failed attempt may lead to.
  public enum Verdict: UInt8, Equatable, Sendable {
    /// Another attempt, free of charge.
    case free
    /// Another attempt if the budget allows it.
    case costly
    /// An error for the client.
    case never
  }

  /// What the backend had said.
  public enum Stage: UInt8, CaseIterable, Sendable {
    /// Nothing.
    case unanswered
    /// An interim response: it has seen the request.
    case acknowledged
  }

  /// How often one request is sent again of which bytes had left, although nobody has read it. The proof may be wrong
  /// where somebody vouched in vain, and a backend that always reads a part and resets must not get it for ever.
  static let resendsMax: UInt8 = 3

  /// Retries of one request that cost. Those that are free are bounded by the number of backends each time that it is
  /// the request's turn, and by how long it may wait.
  static let retriesPaidMax: UInt8 = 2

  //                              nothingSent unacknowledged resetWhole unknown
  private static let idempotent: [[Verdict]] = [
    /* unanswered */ [.free, .free, .free, .costly],
    /* acknowledged */ [.never, .never, .never, .never],
  ]
  private static let others: [[Verdict]] = [
    /* unanswered */ [.free, .free, .free, .never],
    /* acknowledged */ [.never, .never, .never, .never],
  ]

  /// What may be done about an attempt that has ended at `stage` with `delivery`.
  public static func verdict(isIdempotent: Bool, stage: Stage, delivery: Delivery) -> Verdict {
    (isIdempotent ? idempotent : others)[Int(stage.rawValue)][Int(delivery.rawValue)]
  }
}
