//! How much environments may use.

use crate::store::NewClass;

const GIBIBYTE: i64 = 1024 * 1024 * 1024;

/// The classes that a local runner has from the start.
#[must_use]
pub const fn default_classes() -> [NewClass; 3] {
    [
        NewClass {
            display_name: "Small",
            description: "1 CPU, 2 GiB of memory, 10 GiB of disk",
            cpu_millicores: 1000,
            memory_bytes: 2 * GIBIBYTE,
            processes: 512,
            disk_bytes: 10 * GIBIBYTE,
            is_default: true,
        },
        NewClass {
            display_name: "Regular",
            description: "2 CPUs, 4 GiB of memory, 20 GiB of disk",
            cpu_millicores: 2000,
            memory_bytes: 4 * GIBIBYTE,
            processes: 1024,
            disk_bytes: 20 * GIBIBYTE,
            is_default: false,
        },
        NewClass {
            display_name: "Large",
            description: "4 CPUs, 8 GiB of memory, 40 GiB of disk",
            cpu_millicores: 4000,
            memory_bytes: 8 * GIBIBYTE,
            processes: 2048,
            disk_bytes: 40 * GIBIBYTE,
            is_default: false,
        },
    ]
}
