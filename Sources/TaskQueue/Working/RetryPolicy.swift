public import Basics

/// How long a failed attempt waits before the next: doubling from a second to an hour, with jitter.
public struct RetryPolicy: Sendable {
  private var random: SeededRandom

  /// A policy whose jitter follows from `random`.
  public init(random: SeededRandom) {
    self.random = random
  }

  /// What becomes of a task whose attempt failed with `error`.
  public mutating func outcome(of task: ClaimedTask, error: String) -> Completion.Outcome {
    if task.attemptsBefore + 1 >= task.attemptsMax { return .failed(error: error) }
    let ceiling = min(3600, Double(1 << min(task.attemptsBefore, 12)))
    return .retry(error: error, afterSeconds: Double.random(in: ceiling / 2...ceiling, using: &random))
  }
}
