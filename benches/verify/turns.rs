//! Two sides of a share.

/// Measures both, one after the other. Who comes first takes turns: nobody always has the machine as the other left it.
pub(super) async fn in_turns<A, B>(
    round: usize,
    one: impl Future<Output = A>,
    other: impl Future<Output = B>,
) -> (A, B) {
    if round.is_multiple_of(2) {
        let one = one.await;
        (one, other.await)
    } else {
        let other = other.await;
        (one.await, other)
    }
}
