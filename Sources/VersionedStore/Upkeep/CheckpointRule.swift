/// When the log of changes goes into the file: what there is of it every so often, and all of it when it has grown
/// long, so that it begins anew. That has writers wait for whoever reads the file from before; a tool may do so for as
/// long as nobody takes its output. So what was waited for in vain is tried again only when the log is twice as long.
struct CheckpointRule {
  enum Step {
    /// What nobody needs in the log goes into the file.
    case move
    /// Everything does, when those who read have ended.
    case restart
  }

  private var restartPages = Limits.logPagesMax

  /// What is to be done about a log of so many pages, nil if nothing is.
  func step(for pages: Int) -> Step? {
    if pages < Limits.checkpointPages { return nil }
    return pages < restartPages ? .move : .restart
  }

  /// That was done to a log of so many pages; `isWhole` if nothing was left in it.
  mutating func did(_ step: Step, to pages: Int, isWhole: Bool) {
    if isWhole {
      restartPages = Limits.logPagesMax
    } else if step == .restart {
      restartPages = 2 * max(pages, Limits.logPagesMax)
    }
  }
}
