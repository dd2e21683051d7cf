/// Calls `body` with an object without retaining it for the call.
///
/// A retain and its release are two atomic instructions, and a proxied request passed through forty such pairs, which
/// with all that they call were a sixth of its instructions. The compiler leaves them out for a constant of an object
/// that is at hand, but not for a variable, a constant's constant, an element of an array, or a local name.
///
/// Who calls it knows somebody else who owns the object until `body` has returned, whatever `body` does: a reactor
/// keeps what is registered to the end of its turn, a session its `ProxyReactor` for life.
@inlinable @inline(__always)
public func uncounted<Object: AnyObject, R>(_ object: @autoclosure () -> Object, _ body: (Object) -> R) -> R {
  // Safe because: the caller knows an owner, see above.
  Unmanaged.passUnretained(object())._withUnsafeGuaranteedRef { body($0) }
}

/// The same for an object that may not be there; nil if it is not.
@inlinable @inline(__always)
public func uncounted<Object: AnyObject, R>(_ object: @autoclosure () -> Object?, _ body: (Object) -> R) -> R? {
  // Safe because: the caller knows an owner, see above.
  let reference = object().map { Unmanaged.passUnretained($0) }
  return reference.map { $0._withUnsafeGuaranteedRef { body($0) } }
}
