//! How much environments may use.

use crate::store::NewClass;

const MEBIBYTE: i64 = 1024 * 1024;

/// The classes that a local runner has from the start.
#[must_use]
pub const fn default_classes() -> [NewClass; 3] {
    [
        NewClass {
            display_name: "Small",
            description: "1 CPU, 2 GiB of memory",
            cpu_millicores: 1000,
            memory_bytes: 2048 * MEBIBYTE,
            processes: 512,
            is_default: true,
        },
        NewClass {
            display_name: "Regular",
            description: "2 CPUs, 4 GiB of memory",
            cpu_millicores: 2000,
            memory_bytes: 4096 * MEBIBYTE,
            processes: 1024,
            is_default: false,
        },
        NewClass {
            display_name: "Large",
            description: "4 CPUs, 8 GiB of memory",
            cpu_millicores: 4000,
            memory_bytes: 8192 * MEBIBYTE,
            processes: 2048,
            is_default: false,
        },
    ]
}
