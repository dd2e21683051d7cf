/// What `millrace token` can do, as its first operand.
enum TokenAction: String, CaseIterable {
  case issue, verify, rotate
  case `public`
}
