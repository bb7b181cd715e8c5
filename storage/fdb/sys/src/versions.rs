//! The macro by which the crate `foundationdb` asks for API versions, for the one version that is here.

/// Expands what holds for API version 730 and drops what does not: `(min = 700 => …)`, `(min = 510, max = 600 => …)`,
/// and `{ … } else { … }` in place of `…`. The same calls as of the original's macro, which looks at features.
#[macro_export]
macro_rules! if_cfg_api_versions {
    (min = 510, max = $max:tt => { $($then:tt)* } else { $($otherwise:tt)* }) => {{ $($otherwise)* }};
    (min = 510, max = $max:tt => $($then:tt)*) => {};
    (min = $min:tt => { $($then:tt)* } else { $($otherwise:tt)* }) => {{ $($then)* }};
    (min = $min:tt => $($then:tt)*) => { $($then)* };
}
