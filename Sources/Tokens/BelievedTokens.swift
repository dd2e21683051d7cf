/// Tokens whose signatures were found good lately, so that a client that shows its token with each request is not asked
/// for the proof each time. What a token says of its time is looked at each time all the same, and so is its key's.
struct BelievedTokens {
  private struct Entry {
    let claims: TokenClaims
    /// When the key ends that has signed it, in seconds since the Unix epoch; nil if that is not known yet.
    let keyUntil: Double?
  }

  /// The keys that they were judged by: with others nothing of it holds.
  private var keys: TokenKeys?
  private var entries: [[UInt8]: Entry] = [:]

  /// What `token` says, if it was believed by `keys` and its key lives at `now`; its times are for the caller to judge.
  func claims(of token: [UInt8], by keys: TokenKeys, at now: Double) -> TokenClaims? {
    guard self.keys == keys, let entry = entries[token], entry.keyUntil.map({ now < $0 }) ?? true else { return nil }
    return entry.claims
  }

  /// `token` was believed by `keys`.
  mutating func remember(_ token: [UInt8], _ claims: TokenClaims, signedBy key: TokenKey, of keys: TokenKeys) {
    guard token.count <= Limits.rememberedTokenBytesMax else { return }
    if self.keys != keys || entries.count >= Limits.rememberedTokensMax { entries.removeAll() }
    self.keys = keys
    entries[token] = Entry(claims: claims, keyUntil: key.until)
  }
}
