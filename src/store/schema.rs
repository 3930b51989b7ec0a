//! The tables, as `migrations/` makes them.

use diesel::{allow_tables_to_appear_in_same_query, joinable, table};

table! {
    organizations (id) {
        id -> Uuid,
        name -> Text,
        created_at -> Timestamptz,
    }
}

table! {
    principals (id) {
        id -> Uuid,
        organization_id -> Uuid,
        kind -> Text,
        role -> Text,
        status -> Text,
        name -> Text,
        email -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

table! {
    signing_keys (generation) {
        generation -> SmallInt,
        check_value -> Bytea,
        state -> Text,
        created_at -> Timestamptz,
        activated_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
    }
}

table! {
    personal_access_tokens (id) {
        id -> Uuid,
        organization_id -> Uuid,
        principal_id -> Uuid,
        creator_id -> Uuid,
        created_by_token_id -> Nullable<Uuid>,
        key_generation -> SmallInt,
        digest -> Bytea,
        description -> Text,
        read_only -> Bool,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
    }
}

table! {
    token_forms (creator_id, idempotency_key) {
        creator_id -> Uuid,
        idempotency_key -> Uuid,
        created_at -> Timestamptz,
        token_id -> Nullable<Uuid>,
    }
}

table! {
    sessions (id) {
        id -> Uuid,
        organization_id -> Uuid,
        principal_id -> Uuid,
        key_generation -> SmallInt,
        digest -> Bytea,
        signed_in_by -> Text,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        idle_expires_at -> Timestamptz,
        last_used_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
        peer -> Nullable<Inet>,
        user_agent -> Nullable<Text>,
    }
}

table! {
    sign_in_links (id) {
        id -> Uuid,
        organization_id -> Uuid,
        principal_id -> Uuid,
        key_generation -> SmallInt,
        digest -> Bytea,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
    }
}

table! {
    servers (id) {
        id -> Uuid,
        public_url -> Text,
        takes_links -> Bool,
        seen_at -> Timestamptz,
    }
}

table! {
    token_last_used (token_id) {
        token_id -> Uuid,
        last_used_at -> Timestamptz,
        peer -> Nullable<Inet>,
        user_agent -> Nullable<Text>,
    }
}

table! {
    audit_logs (id, created_at) {
        id -> Uuid,
        created_at -> Timestamptz,
        organization_id -> Nullable<Uuid>,
        actor_id -> Nullable<Uuid>,
        actor_kind -> Text,
        token_id -> Nullable<Uuid>,
        session_id -> Nullable<Uuid>,
        action -> Text,
        rpc -> Text,
        subject_type -> Nullable<Text>,
        subject_id -> Nullable<Uuid>,
        outcome -> Text,
        reason -> Text,
        peer -> Nullable<Inet>,
        user_agent -> Nullable<Text>,
        request_id -> Nullable<Uuid>,
        count -> BigInt,
    }
}

table! {
    runners (id) {
        id -> Uuid,
        organization_id -> Uuid,
        name -> Text,
        created_at -> Timestamptz,
    }
}

table! {
    environment_classes (id) {
        id -> Uuid,
        runner_id -> Uuid,
        display_name -> Text,
        description -> Text,
        cpu_millicores -> Integer,
        memory_bytes -> BigInt,
        processes -> Integer,
        disk_bytes -> BigInt,
        is_default -> Bool,
        enabled -> Bool,
        created_at -> Timestamptz,
    }
}

table! {
    environments (id) {
        id -> Uuid,
        organization_id -> Uuid,
        creator_id -> Uuid,
        created_by_token_id -> Uuid,
        runner_id -> Uuid,
        class_id -> Uuid,
        name -> Text,
        context_url -> Nullable<Text>,
        remote_url -> Nullable<Text>,
        upstream_url -> Nullable<Text>,
        target -> Nullable<Text>,
        target_name -> Nullable<Text>,
        checkout_location -> Nullable<Text>,
        desired_phase -> Text,
        phase -> Text,
        epoch -> BigInt,
        status_version -> BigInt,
        content_ready -> Bool,
        branch -> Nullable<Text>,
        commit -> Nullable<Text>,
        failure_message -> Nullable<Text>,
        warning_message -> Nullable<Text>,
        created_at -> Timestamptz,
        last_started_at -> Nullable<Timestamptz>,
        annotations -> Jsonb,
        session_id -> Text,
        disk_bytes -> BigInt,
        archived_at -> Nullable<Timestamptz>,
    }
}

table! {
    environment_tokens (id) {
        id -> Uuid,
        environment_id -> Uuid,
        parent_token_id -> Uuid,
        key_generation -> SmallInt,
        digest -> Bytea,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

table! {
    identities (issuer, subject) {
        issuer -> Text,
        subject -> Text,
        organization_id -> Uuid,
        principal_id -> Uuid,
        created_at -> Timestamptz,
    }
}

table! {
    invitations (id) {
        id -> Uuid,
        organization_id -> Uuid,
        principal_id -> Uuid,
        provider -> Text,
        email -> Text,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        redeemed_at -> Nullable<Timestamptz>,
        withdrawn_at -> Nullable<Timestamptz>,
    }
}

table! {
    sign_in_attempts (id) {
        id -> Uuid,
        ended_at -> Timestamptz,
    }
}

table! {
    login_requests (id) {
        id -> Uuid,
        flow -> Text,
        key_generation -> SmallInt,
        digest -> Bytea,
        user_code_digest -> Nullable<Bytea>,
        code_challenge -> Nullable<Bytea>,
        redirect_uri -> Nullable<Text>,
        host_name -> Text,
        lifetime_seconds -> Integer,
        peer -> Nullable<Inet>,
        user_agent -> Nullable<Text>,
        network -> Nullable<Inet>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        poll_seconds -> Integer,
        polled_at -> Nullable<Timestamptz>,
        state -> Text,
        decided_at -> Nullable<Timestamptz>,
        organization_id -> Nullable<Uuid>,
        approver_id -> Nullable<Uuid>,
        session_id -> Nullable<Uuid>,
        token_id -> Nullable<Uuid>,
    }
}

joinable!(identities -> principals (principal_id));
joinable!(invitations -> principals (principal_id));
joinable!(personal_access_tokens -> principals (principal_id));
joinable!(personal_access_tokens -> signing_keys (key_generation));
joinable!(sessions -> principals (principal_id));
joinable!(sessions -> signing_keys (key_generation));
joinable!(sign_in_links -> principals (principal_id));
joinable!(sign_in_links -> signing_keys (key_generation));
joinable!(token_last_used -> personal_access_tokens (token_id));
joinable!(environment_classes -> runners (runner_id));
joinable!(environments -> principals (creator_id));
joinable!(environment_tokens -> environments (environment_id));
joinable!(environment_tokens -> personal_access_tokens (parent_token_id));
joinable!(login_requests -> signing_keys (key_generation));

allow_tables_to_appear_in_same_query!(
    principals,
    personal_access_tokens,
    sessions,
    sign_in_links,
    token_last_used,
    runners,
    environment_classes,
    environments,
    environment_tokens,
    organizations,
    signing_keys,
    identities,
    invitations,
    login_requests,
);
