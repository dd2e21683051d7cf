/// One thing that `millrace doctor` has looked at.
struct Finding {
  /// How much it matters if something is wrong.
  enum Weight: String {
    /// `up` does not start without it.
    case missing
    /// `up` does without it, the examples do not.
    case absent
    /// All works, and could work better.
    case advice
  }

  let what: String
  /// What was found, or what is wrong.
  let detail: String
  /// The command that mends it, nil if nothing is wrong.
  let remedy: String?
  var weight = Weight.missing
}
