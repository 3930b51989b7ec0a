//! Many tokens in the table, a few thousand of which can be used.

use latchkey::{
    domain::token::{CredentialKind, Generation},
    embedded::Role,
};
use tonic::metadata::{Ascii, MetadataValue};
use uuid::Uuid;

use super::{Postgres, server::bearer};

/// Rows beside those of the tokens that can be used: the same in every respect, but that nobody has the token.
const FILL: &str = "
    INSERT INTO personal_access_tokens
        (id, organization_id, principal_id, creator_id, key_generation, digest, description, read_only, created_at, expires_at)
    WITH users AS (SELECT array_agg(id) AS ids FROM principals WHERE email LIKE '%@bench.example'),
    filler AS (
        SELECT $3::bigint + number * ($4::bigint - $3::bigint) / $1::bigint AS milliseconds, md5(number::text) AS noise
        FROM generate_series(1, $1::bigint) AS number
    ),
    tokens AS (
        SELECT (lpad(to_hex(milliseconds), 12, '0') || '7' || substr(noise, 1, 3) || '8' || substr(noise, 4, 15))::uuid AS id,
               sha256(noise::bytea) AS digest, milliseconds
        FROM filler
        UNION ALL
        SELECT id::uuid, decode(digest, 'hex'), milliseconds
        FROM unnest($5::text[], $6::text[], $7::bigint[]) AS usable (id, digest, milliseconds)
    )
    SELECT tokens.id, (SELECT id FROM organizations), owner.id, owner.id, $2::smallint, digest, 'benchmark', false,
           to_timestamp(milliseconds / 1000.0), to_timestamp(milliseconds / 1000.0) + interval '60 days'
    FROM tokens, users,
         LATERAL (SELECT users.ids[1 + abs(hashtext(tokens.id::text)::bigint) % array_length(users.ids, 1)] AS id) AS owner
    ORDER BY tokens.id";

/// Tokens that a server on this PostgreSQL takes, each as the header that it travels in.
pub struct Tokens {
    /// The headers.
    pub headers: Vec<MetadataValue<Ascii>>,
    /// Their IDs.
    pub ids: Vec<Uuid>,
}

/// Fills the table with `rows` tokens of `rows / 100` users (a user has 100 at the most), made within the last 20 days, and
/// as many `usable` ones evenly among them. A server must have been there: it makes the tables.
pub async fn fill(postgres: &Postgres, rows: u32, usable: u32) -> Tokens {
    let client = postgres.superuser().await;
    let users = i64::from((rows / 100).max(1));
    // What is inserted is sound, and need not be looked up row by row.
    client.batch_execute("SET session_replication_role = replica; SET work_mem = '256MB'").await.unwrap();
    client
        .execute(
            "INSERT INTO principals (id, organization_id, kind, role, name, email)
             SELECT gen_random_uuid(), (SELECT id FROM organizations), 'user', 'member', 'User ' || number,
                    'user' || number || '@bench.example'
             FROM generate_series(1, $1::bigint) AS number",
            &[&users],
        )
        .await
        .unwrap();
    let span = "SELECT (extract(epoch FROM now() - interval '20 days') * 1000)::bigint, (extract(epoch FROM now()) * 1000)::bigint";
    let span = client.query_one(span, &[]).await.unwrap();
    let (from, to): (i64, i64) = (span.get(0), span.get(1));

    let mut dice = Dice(1);
    let (mut headers, mut ids, mut digests, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..usable {
        let milliseconds = from.cast_unsigned() + dice.below((to - from).cast_unsigned());
        let mut noise = [0; 10];
        noise[..8].copy_from_slice(&dice.roll().to_be_bytes());
        let id = uuid::Builder::from_unix_timestamp_millis(milliseconds, &noise).into_uuid();
        let minted = postgres.keys().mint(CredentialKind::PersonalAccessToken, Generation::FIRST, id).unwrap().unwrap();
        headers.push(bearer(minted.text.expose()));
        ids.push(id);
        digests.push(minted.digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        times.push(milliseconds.cast_signed());
    }
    let names: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    let (rows, generation) = (i64::from(rows), i16::from(Generation::FIRST.number()));
    client.execute(FILL, &[&rows, &generation, &from, &to, &names, &digests, &times]).await.unwrap();
    postgres.settle(&["principals", "personal_access_tokens"]).await;
    Tokens { headers, ids }
}

/// Keys on a row, in the table that [`keys_for_pgbench`] makes.
pub const KEYS_A_ROW: usize = 50;

/// Makes the table `benchmark_keys`: random IDs of usable tokens, which pgbench can draw by a number. Returns its rows.
pub async fn keys_for_pgbench(postgres: &Postgres, tokens: &Tokens) -> usize {
    const ROWS: usize = 2000;
    let client = postgres.superuser().await;
    let columns: Vec<String> = (1..=KEYS_A_ROW).map(|number| format!("k{number} uuid NOT NULL")).collect();
    let serving = Role::Serving.name();
    client
        .batch_execute(&format!(
            "CREATE TABLE benchmark_keys (row integer PRIMARY KEY, {}); GRANT SELECT ON benchmark_keys TO {serving}",
            columns.join(", ")
        ))
        .await
        .unwrap();
    let mut dice = Dice(2);
    for row in 1..=ROWS {
        let keys: Vec<String> = (0..KEYS_A_ROW).map(|_| format!("'{}'", dice.choose(&tokens.ids))).collect();
        client.batch_execute(&format!("INSERT INTO benchmark_keys VALUES ({row}, {})", keys.join(", "))).await.unwrap();
    }
    postgres.settle(&["benchmark_keys"]).await;
    ROWS
}

/// Random enough to spread accesses, and the same in every run (splitmix64).
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// A number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below another.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// One of some.
    pub fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).expect("it is below a usize")]
    }
}
