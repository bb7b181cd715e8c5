//! Every bound of Steward in one place: queues, batches, retries, times and sizes. A unit stands last in each name.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Longest name of a project, agent or model.
pub const NAME_BYTES_MAX: usize = 63;

// Storage: FoundationDB's limits, kept alike on every backend.

/// How often a FoundationDB store asks its client how it is.
pub const FDB_LOOK_TIME: Duration = Duration::from_secs(5);
/// Longest key; FoundationDB's 10,000 bytes less [`FDB_PREFIX_BYTES_MAX`].
pub const KEY_BYTES_MAX: usize = 9_900;
/// Levels of tuples within tuples in a key.
pub const KEY_DEPTH_MAX: usize = 32;
/// Longest value.
pub const VALUE_BYTES_MAX: usize = 100_000;
/// Most bytes of keys, values and conflict ranges in one transaction.
pub const TRANSACTION_BYTES_MAX: usize = 10_000_000;
/// Longest life of a transaction, from its read version to its commit.
pub const TRANSACTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Attempts of the retry loop before it gives up.
pub const TRANSACTION_ATTEMPTS_MAX: u32 = 100;
/// Longest whole time of the retry loop.
pub const TRANSACTION_RETRY_TIME_MAX: Duration = Duration::from_secs(30);
/// First bound of the random wait between two attempts of the retry loop; it doubles each time.
pub const TRANSACTION_BACKOFF_MIN: Duration = Duration::from_millis(2);
/// Longest wait between two attempts of the retry loop.
pub const TRANSACTION_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Most bytes of keys and values that one range read returns (it always returns one row).
pub const RANGE_BYTES_MAX: usize = 4 << 20;
/// Most rows that one range read returns.
pub const RANGE_ROWS_MAX: usize = 10_000;
/// Watches that one store keeps at once.
pub const WATCHES_MAX: usize = 100_000;

/// Longest prefix under which a store's keys stand in FoundationDB.
pub const FDB_PREFIX_BYTES_MAX: usize = 100;
/// Longest tag of a store's transactions in FoundationDB: its own limit.
pub const FDB_TAG_BYTES_MAX: usize = 255;
/// Longest wait for an answer of a FoundationDB cluster to a read before it counts as not available.
pub const FDB_READ_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the outcome of a FoundationDB commit before it counts as unknown.
pub const FDB_COMMIT_TIME_MAX: Duration = Duration::from_secs(10);

/// Commits that wait for the embedded store's writer.
pub const COMMITS_QUEUED_MAX: usize = 4_096;
/// Commits that the embedded store's writer secures with one sync.
pub const COMMIT_GROUP_MAX: usize = 256;
/// Bytes of commits after which the embedded store's writer takes no more into a group.
pub const COMMIT_GROUP_BYTES_MAX: usize = 16 << 20;
/// Bytes of rows in one checksummed block of a backup file.
pub const BACKUP_BLOCK_BYTES: usize = 1 << 20;

// The served store.

/// Connections that one served store keeps, those that are still shaking hands included.
pub const SERVED_CONNECTIONS_MAX: usize = 256;
/// Largest frame between a served store and its client. A whole transaction fits: its bytes and the frame's own.
pub const SERVED_FRAME_BYTES_MAX: usize = 32 << 20;
/// Calls of one connection that may be without an answer; more of them wait.
pub const SERVED_CALLS_MAX: usize = 1_024;
/// Bytes of calls of one connection that may be without an answer; more of them wait.
pub const SERVED_CALL_BYTES_MAX: usize = 64 << 20;
/// Transactions of one connection that read and have not ended.
pub const SERVED_TRANSACTIONS_MAX: usize = 4_096;
/// Watches of one connection.
pub const SERVED_WATCHES_MAX: usize = 25_000;
/// Longest time for one try to connect to a served store, TLS and greeting included.
pub const SERVED_CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a node that starts waits for its served store, which may be starting too.
pub const SERVED_START_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a served store and its client show each other that they live, and look at their deadlines.
pub const SERVED_HEARTBEAT_TIME: Duration = Duration::from_millis(250);
/// Heartbeats without a byte from the other side after which a connection is given up: after 1.5 s to 1.75 s.
pub const SERVED_SILENT_HEARTBEATS_MAX: u32 = 6;
/// First bound of the random wait between two tries to connect to a served store; it doubles each time.
pub const SERVED_RECONNECT_TIME_MIN: Duration = Duration::from_millis(20);
/// Longest wait between two tries to connect to a served store.
pub const SERVED_RECONNECT_TIME_MAX: Duration = Duration::from_millis(500);
/// Deadline of a call to a served store when the configuration names none.
pub const SERVED_CALL_TIME_DEFAULT: Duration = Duration::from_secs(5);

// The entity host.

/// Longest id of an entity.
pub const ENTITY_ID_BYTES_MAX: usize = 512;
/// Messages that wait for one entity.
pub const MAILBOX_MESSAGES_MAX: usize = 256;
/// Bytes of messages that wait for one entity.
pub const MAILBOX_BYTES_MAX: usize = 4 << 20;
/// Largest single message to an entity.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Live entities on one node before the idle ones are passivated early.
pub const LIVE_ENTITIES_MAX: usize = 100_000;
/// How long an entity may be idle before it is passivated.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// Deadline of a call that names none.
pub const CALL_TIME_DEFAULT: Duration = Duration::from_secs(10);
/// First wait before a crashed entity is activated again; it doubles each time.
pub const RESTART_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest wait before a crashed entity is activated again.
pub const RESTART_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Failed activations in a row after which an entity is quarantined.
pub const RESTARTS_MAX: u32 = 5;
/// Entities of one kind in quarantine on one node; beyond it the oldest is released.
pub const QUARANTINED_MAX: usize = 1_000;
/// Changes of entities' lives that a slow watcher may lag behind before it misses some.
pub const LIFECYCLE_EVENTS_MAX: usize = 1_024;
/// How long an overloaded entity asks its caller to wait.
pub const OVERLOAD_RETRY_AFTER: Duration = Duration::from_millis(50);
/// Shards that entities are spread over, unless a cluster began with another number; fixed for its life.
pub const SHARDS: u32 = 1_024;
/// The most shards that a cluster may begin with: each node reads all their rows after a change.
pub const SHARDS_MAX: u32 = 65_536;
/// Dead letters kept on one node.
pub const DEAD_LETTERS_MAX: usize = 1_000;
/// Longest graceful drain before what is left is stopped.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

// The cluster.

/// Time between two beats of a node.
pub const BEAT_TIME: Duration = Duration::from_millis(300);
/// Silence after which a node is taken for dead.
pub const LEASE_TIME: Duration = Duration::from_millis(1_200);
/// How much sooner than others a node takes itself for dead.
pub const LEASE_MARGIN: Duration = Duration::from_millis(300);
/// How many beats' time a node believes in its leases after its last beat, when beats take longer than the time between
/// two.
pub const BEATS_BELIEVED: u32 = 3;
/// Longest time that a node believes in its leases after its last beat, however long beats take.
pub const BELIEF_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time that a beat is waited for before another is tried.
pub const BEAT_PATIENCE_MAX: Duration = Duration::from_secs(10);
/// Other nodes whose beats one node listens to.
pub const BEATS_OBSERVED_MAX: usize = 8;
/// Shards that one transaction claims or hands over.
pub const SHARD_BATCH_MAX: usize = 128;
/// Shards of the whole cluster that are on their way from one node to another at once; at least one a node.
pub const SHARD_MOVES_MAX: usize = 16;
/// How long the entities of a shard that moves may take to finish what they do.
pub const SHARD_RELEASE_TIME_MAX: Duration = Duration::from_secs(10);
/// Shortest time between two looks of one node at the cluster's state, so that a burst of changes is one look.
pub const RECONCILE_TIME_MIN: Duration = Duration::from_millis(10);
/// Records of nodes that left or died which are kept for people to read.
pub const NODES_GONE_MAX: usize = 64;
/// Greatest weight of a node.
pub const NODE_WEIGHT_MAX: u32 = 10_000;

// Scripts.

/// Longest source of one script or module.
pub const SCRIPT_BYTES_MAX: usize = 256 << 10;
/// Modules that one agent may have, those of its project that it imports among them.
pub const SCRIPT_MODULES_MAX: usize = 32;
/// Rhai operations in one turn.
pub const SCRIPT_OPERATIONS_MAX: u64 = 50_000_000;
/// Depth of script calls.
pub const SCRIPT_CALL_DEPTH_MAX: usize = 64;
/// Depth of an expression.
pub const SCRIPT_EXPRESSION_DEPTH_MAX: usize = 64;
/// Longest string in a script.
pub const SCRIPT_STRING_BYTES_MAX: usize = 1 << 20;
/// Longest array in a script.
pub const SCRIPT_ARRAY_ITEMS_MAX: usize = 100_000;
/// Most entries in a script's object map.
pub const SCRIPT_MAP_ITEMS_MAX: usize = 10_000;
/// Memory that one script's values may take, as estimated.
pub const SCRIPT_MEMORY_BYTES_MAX: usize = 64 << 20;
/// Processor time that a script may run between two host calls.
pub const SCRIPT_SLICE_TIME_MAX: Duration = Duration::from_secs(10);
/// Host calls in one turn.
pub const TURN_STEPS_MAX: u32 = 10_000;
/// Branches of one `parallel`.
pub const PARALLEL_BRANCHES_MAX: usize = 64;
/// A wait up to this long stays on its thread; a longer one unwinds the script.
pub const SHORT_WAIT_MAX: Duration = Duration::from_millis(100);
/// Largest arguments of one step, as canonical JSON.
pub const SCRIPT_ARGUMENTS_BYTES_MAX: usize = 90_000;
/// Largest recorded result of one step.
pub const STEP_RESULT_BYTES_MAX: usize = 90_000;
/// A turn whose script has used more processor time than this goes on in the slow lane, behind everything else.
pub const SCRIPT_FAST_TIME_MAX: Duration = Duration::from_millis(5);
/// Scripts in the slow lane that compute at the same time; the others wait.
pub const SCRIPT_SLOW_LANES: usize = 1;
/// Scripts that commit a full buffer at the same time; the others wait.
pub const SCRIPT_WRITING_LANES: usize = 1;
/// Messages that a node takes and turns that it works on at once, for each processor, unless its configuration says otherwise.
pub const TURNS_AT_WORK_A_PROCESSOR: NonZeroUsize = NonZeroUsize::new(32).expect("32 is not 0");
/// How long a message waits for a place among them, unless the configuration says otherwise.
pub const PLACE_WAIT_TIME: Duration = Duration::from_secs(10);
/// How long a node that had no place asks its caller to wait.
pub const PLACE_RETRY_AFTER: Duration = Duration::from_secs(2);
/// Messages that wait for a place at once.
pub const PLACE_WAITERS_MAX: usize = 4_096;
/// Script threads on one node.
pub const SCRIPT_THREADS_MAX: usize = 64;
/// How long a script thread waits for its next script before it ends.
pub const SCRIPT_THREAD_IDLE_TIME: Duration = Duration::from_secs(10);

// Sessions.

/// Messages that wait in one session's inbox.
pub const SESSION_INBOX_MAX: usize = 1_000;
/// Longest message to a session.
pub const SESSION_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Longest time that an approval or a timer may wait.
pub const SESSION_WAIT_TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Depth of agents calling agents.
pub const AGENT_CALL_DEPTH_MAX: u32 = 8;
/// Events of one session that a watcher reads at a time, and so keeps in memory at most.
pub const WATCH_PAGE_EVENTS: usize = 256;
/// Longest key of a message.
pub const MESSAGE_KEY_BYTES_MAX: usize = 128;
/// Bytes of a turn's buffered changes at which they are committed on their own.
pub const TURN_BUFFER_BYTES_MAX: usize = 128 << 10;
/// Bytes of all results in one turn's journal.
pub const TURN_JOURNAL_BYTES_MAX: usize = 16 << 20;
/// Longest arguments that a journal keeps for people to read; of longer ones it keeps the hash.
pub const STEP_ARGUMENTS_BYTES_MAX: usize = 8 << 10;
/// Longest time that tokens of a stream wait before they are committed.
pub const DELTA_TIME_MAX: Duration = Duration::from_millis(50);
/// How long a question to a person stays open when neither the call nor the manifest says.
pub const APPROVAL_TIME_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest key of a script's `state`.
pub const STATE_KEY_BYTES_MAX: usize = 1 << 10;
/// Messages to other nodes that nobody waits for and that wait to be sent; more are refused.
pub const REMOTE_TELLS_MAX: usize = 4096;
/// How many of them are under way at once.
pub const REMOTE_TELLS_AT_ONCE: usize = 64;
/// The first pause before the owner of a shard is looked up again; each next one is twice as long.
pub const ROUTE_PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest such pause.
pub const ROUTE_PAUSE_MAX: Duration = Duration::from_millis(200);
/// How long the node that gave a shard away is waited for when it was asked for what must not be done twice.
pub const MOVED_ANSWER_TIME: Duration = Duration::from_secs(2);
/// How long shards that come to a node are gathered before what works by itself in them is woken in one pass.
pub const RECOVERY_SHARDS_PAUSE: Duration = Duration::from_millis(100);
/// How soon the timer service looks again when timers of other nodes' sessions are due.
pub const TIMER_OTHERS_TIME: Duration = Duration::from_secs(1);
/// Longest sleep of the timer service before it looks again.
pub const TIMER_SLEEP_MAX: Duration = Duration::from_secs(60);
/// How often a node looks for sessions that have something to do and that nobody has woken.
pub const RECOVERY_TIME: Duration = Duration::from_secs(60);
/// Timers that the timer service reads at a time.
pub const TIMER_PAGE: usize = 256;
/// Agent versions that one node keeps ready to run.
pub const PROGRAMS_MAX: usize = 256;
/// Sessions that one node wakes at once when it recovers or when timers are due.
pub const RECOVERY_SESSIONS_MAX: usize = 64;
/// Turns in flight on one node above which it recovers sessions and fires timers only as turns end.
pub const RECOVERY_TURNS_MAX: u64 = 256;
/// How long no turn may end before a page of sessions to recover, or of timers, goes on although there is no room: all
/// turns may be slow ones.
pub const RECOVERY_STALL_TIME: Duration = Duration::from_secs(1);
/// The longest that such a page waits for room: others' turns may always fill it.
pub const RECOVERY_PAGE_TIME: Duration = Duration::from_secs(10);

// Memory of agents.

/// Vectors that one project may remember.
pub const MEMORY_VECTORS_MAX: usize = 100_000;
/// Matches that one `recall` may ask for.
pub const RECALL_MATCHES_MAX: usize = 100;
/// Longest remembered text.
pub const MEMORY_TEXT_BYTES_MAX: usize = 16 << 10;
/// Longest metadata of a memory, as JSON.
pub const MEMORY_METADATA_BYTES_MAX: usize = 16 << 10;
/// Most numbers in one vector.
pub const MEMORY_DIMENSIONS_MAX: usize = 4_096;
/// Bytes of vectors that one node keeps in memory for all projects; the longest unused project goes first.
pub const MEMORY_CACHE_BYTES_MAX: usize = 512 << 20;

// HTTP tool.

/// Largest request body of the `http` tool.
pub const HTTP_REQUEST_BYTES_MAX: usize = 1 << 20;
/// Largest response body of the `http` tool.
pub const HTTP_RESPONSE_BYTES_MAX: usize = 64 << 10;
/// Redirects that the `http` tool follows.
pub const HTTP_REDIRECTS_MAX: usize = 5;
/// Longest time until a connection of the `http` tool stands.
pub const HTTP_CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time of one `http` call.
pub const HTTP_TIME_MAX: Duration = Duration::from_secs(30);

// Models.

/// Tokens that a generation makes when the caller names no bound.
pub const GENERATE_TOKENS_DEFAULT: u32 = 256;
/// Texts in one embedding request.
pub const EMBED_TEXTS_MAX: usize = 256;
/// Stop sequences in one request.
pub const STOP_SEQUENCES_MAX: usize = 4;
/// Longest stop sequence.
pub const STOP_SEQUENCE_BYTES_MAX: usize = 256;
/// Generations that one replica makes tokens for at once.
pub const REPLICA_ACTIVE_MAX: usize = 8;
/// The same on a GPU, where a batch of many costs little more than one of few.
pub const REPLICA_ACTIVE_GPU_MAX: usize = 32;
/// Generations that wait for their turn on one replica.
pub const REPLICA_QUEUE_MAX: usize = 64;
/// Ended generations of one replica whose keys and values are kept for others that begin alike, memory permitting.
pub const REPLICA_PREFIXES_MAX: usize = 16;
/// The fewest tokens in common that are worth to be copied.
pub const REPLICA_PREFIX_TOKENS_MIN: usize = 16;
/// Tokens that one slice of a hold pays for.
pub const HOLD_SLICE_TOKENS: u32 = 64;
/// Nodes that write where replicas of models should be: those of the least ids that live. One would do; more outlive it.
pub const MODEL_PLANNERS: usize = 3;
/// Times that a node tries to load a model before it says that it cannot.
pub const MODEL_LOAD_ATTEMPTS_MAX: u32 = 3;
/// Wait before the second try; each further one is twice as long.
pub const MODEL_LOAD_BACKOFF: Duration = Duration::from_millis(500);
/// Characters of a load's failure that others are told.
pub const MODEL_FAILURE_CHARS_MAX: usize = 400;
/// Longest that adding a model waits until a node has it.
pub const MODEL_ADD_TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// Longest that a request waits until a replica of its model is ready, such as after a node's death.
pub const MODEL_WAIT_TIME_MAX: Duration = Duration::from_secs(30);
/// Time between two looks at a node's devices, and so at most one row a node in that time.
pub const MACHINE_REPORT_TIME: Duration = Duration::from_secs(1);
/// How old what is known of a replica's load may be before it is read again.
pub const REPLICA_LOAD_FRESH_TIME: Duration = Duration::from_secs(2);
/// Generations more than on the least busy replica for which a request still goes where its prefix is.
pub const PREFIX_SLACK_GENERATIONS: u32 = 4;
/// Prefixes of which a node remembers the replica.
pub const PREFIXES_MAX: usize = 65_536;
/// Bytes of raw text after which there is a further prefix.
pub const PREFIX_TEXT_BYTES: usize = 1_024;
/// Longest that a node keeps a question for a generation's next tokens before it answers that there are none yet.
pub const GENERATION_FOLLOW_TIME: Duration = Duration::from_secs(1);
/// Longest that one question to a replica on another node may take.
pub const GENERATION_CALL_TIME_MAX: Duration = Duration::from_secs(4);
/// Silence of a replica's node after which a generation goes on elsewhere.
pub const GENERATION_LOST_TIME: Duration = Duration::from_secs(6);
/// Time without a question after which a generation for another node is given up.
pub const GENERATION_ABANDONED_TIME: Duration = Duration::from_secs(15);
/// Events of a generation that go into one answer, and that wait to be asked for.
pub const GENERATION_EVENTS_MAX: usize = 256;
/// Generations for other nodes at once.
pub const GENERATIONS_SERVED_MAX: usize = 4_096;
/// Replicas that one request is taken to before it fails.
pub const GENERATION_MOVES_MAX: usize = 4;

// Budgets.

/// What a session takes from its budget at a time, in micro-units, when the project says nothing else.
pub const ALLOWANCE_MICROS_DEFAULT: u64 = 100_000;
/// How long an allowance may lie unused before it returns to its budget.
pub const ALLOWANCE_LEASE_TIME: Duration = Duration::from_secs(15 * 60);
/// How often a project's budget is swept for allowances and holds that ran out.
pub const SWEEP_TIME: Duration = Duration::from_secs(60);
/// Leases and expiries that one sweep looks at.
pub const SWEEP_ROWS_MAX: usize = 1_000;
/// Entries on one page of a statement.
pub const STATEMENT_ENTRIES_MAX: usize = 1_000;
/// Steps that one page of a statement looks at.
pub const STATEMENT_ROWS_MAX: usize = 10_000;
/// Differences that one audit spells out.
pub const AUDIT_DIFFERENCES_MAX: usize = 100;

// Receipts.

/// Leaves appended to the log in one transaction.
pub const RECEIPT_BATCH_MAX: usize = 1_024;
/// How long the log waits after a batch for more leaves to share the next one.
pub const RECEIPT_LINGER_TIME: Duration = Duration::from_millis(20);
/// Receipts on one page of a list.
pub const RECEIPT_PAGE_MAX: usize = 1_000;
/// How long leaves may wait before a batch is anchored, when the project says nothing else.
pub const ANCHOR_TIME_DEFAULT: Duration = Duration::from_secs(60);

// Chains.

/// Unfinished intents in one chain's outbox.
pub const OUTBOX_INTENTS_MAX: usize = 10_000;
/// Intents of one chain's outbox that an operator is shown at once.
pub const OUTBOX_SHOWN_MAX: usize = 200;
/// Characters that are kept of what went wrong with an intent.
pub const OUTBOX_REASON_CHARS_MAX: usize = 300;
/// Intents of one account that may be signed and not final at once.
pub const OUTBOX_IN_FLIGHT_MAX: usize = 16;
/// Signed transactions of one intent: the first and its replacements.
pub const OUTBOX_ATTEMPTS_MAX: usize = 8;
/// How often the wait doubles after which an intent is tried again that could not be signed: from 5 s to over 5 minutes.
pub const OUTBOX_DOUBLINGS_MAX: u32 = 6;
/// How often the chain must refuse an order before anything of it is signed, until that is its end.
pub const CHAIN_ORDER_REFUSALS_MAX: u32 = 3;
/// How long an order may be in the outbox, while the chain is not paused, before something of it is signed.
pub const CHAIN_ORDER_UNSIGNED_TIME_MAX: Duration = Duration::from_secs(3_600);
/// Orders of one project that a chain has in its outbox at once.
pub const CHAIN_ORDERS_TAKEN_PROJECT_MAX: usize = 8;
/// Steps that wait for one order and are told of its end; later ones look by themselves.
pub const CHAIN_WAITERS_MAX: usize = 1_000;
/// Orders of one project on one chain that have not ended.
pub const CHAIN_ORDERS_MAX: u32 = 1_000;
/// Input of a contract's call in an order. The row of an order's intent holds it twice, and once more in each of
/// `OUTBOX_ATTEMPTS_MAX` signed transactions; all that must fit `VALUE_BYTES_MAX`.
pub const CHAIN_CALL_INPUT_BYTES_MAX: usize = 8 << 10;
/// Contracts that operators have put on one chain through its outbox.
pub const CHAIN_DEPLOYMENTS_MAX: usize = 64;
/// What a contract's constructor is given, encoded. The row of a deployment's intent holds it once, and once more, with the
/// contract's code, in each of `OUTBOX_ATTEMPTS_MAX` signed transactions.
pub const CHAIN_DEPLOYMENT_ARGUMENTS_BYTES_MAX: usize = 800;
/// The name of a contract's method, as rules and people read it.
pub const CHAIN_CALL_METHOD_BYTES_MAX: usize = 512;
/// Characters of a call's arguments in the question for consent to it.
pub const CONSENT_QUESTION_CHARS_MAX: usize = 300;
/// Bytes of a call's arguments that whoever consents to it is shown in full; of more the beginning and the hash.
pub const CONSENT_DETAILS_BYTES_MAX: usize = 4 << 10;
/// Orders that a chain has in its outbox at once; the rest wait outside.
pub const CHAIN_ORDERS_TAKEN_MAX: usize = 64;
/// How often a chain looks for orders that it was not told of.
pub const CHAIN_ORDERS_LOOKED_TIME: Duration = Duration::from_secs(5);
/// How often a session that waits for a transaction looks whether it ended, besides being told.
pub const CHAIN_WAIT_LOOKED_TIME: Duration = Duration::from_secs(30);
/// Bytes of one answer of a chain's endpoint: more than the events of a busy block take.
pub const CHAIN_ANSWER_BYTES_MAX: usize = 32 << 20;
/// Longest time of one call to a chain's endpoint.
pub const CHAIN_CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// Blocks in which a Solana transaction can land after the one whose hash it names. Nodes allow an age of 150, which is
/// that of the block before; what they call the last valid block height is one too low.
pub const SOLANA_LIFETIME: u64 = 151;
/// Blocks that are waited for beyond what a Solana node calls the last valid one: the one above, and some to be safe.
pub const SOLANA_EXPIRY_MARGIN: u64 = 8;
/// Blocks that a Solana node lists at once.
pub const SOLANA_BLOCKS_LISTED_MAX: u64 = 500_000;
/// Final Solana blocks after a transaction's last one that are listed with those that can have it: what is longer ago is
/// looked for first.
pub const SOLANA_BLOCKS_NEAR: u64 = 10_000;
/// Steps in which blocks of long ago are looked for: each leaves as many as slots had no block, one in twenty or so.
pub const SOLANA_BLOCKS_NEAR_STEPS_MAX: u32 = 32;
/// Slots without a block that are allowed for in a short row of blocks; in a longer one, as many as it has blocks.
pub const SOLANA_SKIPPED_SLOTS: u64 = 64;
/// Transactions of a Solana block of which an endpoint must know one, before it is believed that it knows none of ours.
pub const SOLANA_WITNESSES_MAX: usize = 8;
/// Newest transactions of a Solana account that are searched for its anchors: what nodes list at most.
pub const SOLANA_SIGNATURES_MAX: usize = 1_000;
/// Transactions that are read to tell an anchor of a Solana account's from memos that others wrote under its name.
pub const SOLANA_ANCHOR_CANDIDATES_MAX: usize = 64;
/// Shortest time between two anchors of one log by itself.
pub const ANCHOR_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Longest time that a project may let its receipts wait before they are anchored.
pub const ANCHOR_INTERVAL_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The most receipts that a project may wait for before they are anchored, where it says a number.
pub const ANCHOR_RECEIPTS_MAX: u64 = 1_000_000;
/// How long a chain waits before it looks again at a log that it could not watch.
pub const ANCHOR_WATCH_RETRY_TIME: Duration = Duration::from_secs(5);
/// Longest time of one call to a service that signs: less than a chain waits for one endpoint, which is asked meanwhile.
pub const SIGNER_CALL_TIME_MAX: Duration = Duration::from_secs(2);
/// Bytes of an answer of a service that signs.
pub const SIGNER_ANSWER_BYTES_MAX: usize = 64 << 10;
/// The cost of guessing the password of a keystore file of ours, as the power of two that scrypt takes: 128 MiB a guess,
/// which OWASP's Password Storage Cheat Sheet recommends.
pub const KEYSTORE_SCRYPT_LOG_N: u8 = 17;
/// How often a paused chain looks whether it is paused still, besides being told.
pub const CHAIN_PAUSED_TIME: Duration = Duration::from_secs(5);
/// Shortest wait of a chain's entity before it looks again.
pub const CHAIN_TICK_MIN: Duration = Duration::from_millis(1);
/// Payments of an account to itself that are looked through for its newest anchor, where anchors are memos.
pub const ANCHORS_READ_MAX: usize = 1_000;
/// Failures in a row after which a circuit breaker opens.
pub const BREAKER_FAILURES_MAX: u32 = 3;
/// How often a node looks for operators' orders of breakers that it was not told of.
pub const FORCED_BREAKERS_LOOKED_TIME: Duration = Duration::from_secs(30);
/// How long a node waits before it looks again where the store did not answer.
pub const FORCED_BREAKERS_RETRY_TIME: Duration = Duration::from_secs(1);
/// How long a breaker stays open the first time; it doubles each time.
pub const BREAKER_OPEN_TIME_MIN: Duration = Duration::from_millis(500);
/// Longest time that a breaker stays open.
pub const BREAKER_OPEN_TIME_MAX: Duration = Duration::from_secs(10);
/// Endpoints of one chain.
pub const ENDPOINTS_MAX: usize = 16;
/// Calls of one endpoint that its health is made from.
pub const ENDPOINT_SAMPLES_MAX: usize = 64;
/// How long a call counts for its endpoint's health.
pub const ENDPOINT_SAMPLE_TIME_MAX: Duration = Duration::from_secs(60);
/// Changes that an endpoint shows.
pub const ENDPOINT_TRANSITIONS_MAX: usize = 16;
/// Characters of a change's reason.
pub const ENDPOINT_REASON_CHARS_MAX: usize = 300;
/// An endpoint that takes so many times longer than usual, while another answers, counts as failed.
pub const ENDPOINT_HANGS_MULTIPLE: u32 = 4;
/// How long an endpoint is left alone that throttles without saying how long, the first time.
pub const ENDPOINT_THROTTLED_TIME_MIN: Duration = Duration::from_secs(1);
/// Longest time that an endpoint is left alone because it throttles, whatever it asks for.
pub const ENDPOINT_THROTTLED_TIME_MAX: Duration = Duration::from_secs(600);
/// Blocks that an endpoint may be behind the others before it is asked last.
pub const ENDPOINT_LAG_BLOCKS_MAX: u64 = 3;
/// Wrong answers within `ENDPOINT_WRONG_TIME` after which an endpoint is not asked for a while.
pub const ENDPOINT_WRONG_ANSWERS_MAX: u32 = 2;
/// How long a wrong answer is remembered.
pub const ENDPOINT_WRONG_TIME: Duration = Duration::from_secs(600);
/// How long an endpoint is not asked after wrong answers, the first time; it doubles each time.
pub const ENDPOINT_PUNISHED_TIME_MIN: Duration = Duration::from_secs(60);
/// Longest time that an endpoint is not asked after wrong answers.
pub const ENDPOINT_PUNISHED_TIME_MAX: Duration = Duration::from_secs(3_600);
/// Longest time that one endpoint is waited for where no other is asked at the same time.
pub const CHAIN_ATTEMPT_TIME_MAX: Duration = Duration::from_secs(3);
/// Shortest wait before a second endpoint is asked the same.
pub const HEDGE_TIME_MIN: Duration = Duration::from_millis(50);
/// Longest wait before a second endpoint is asked the same, and the wait while nothing is known of the first.
pub const HEDGE_TIME_MAX: Duration = Duration::from_millis(500);
/// How often a chain with something to do asks its endpoints for their newest blocks.
pub const ENDPOINTS_SEEN_TIME: Duration = Duration::from_secs(10);
/// Shortest time between two rounds in which endpoints that failed are asked whether they are well again.
pub const ENDPOINT_PROBE_TIME: Duration = Duration::from_millis(500);
/// Blocks that a transaction may be said to live longer than most endpoints say: a lifetime, for those that are behind.
pub const EXPIRY_BLOCKS_AHEAD_MAX: u64 = SOLANA_LIFETIME;
/// How long to wait for endpoints that do not have a block yet, before they are asked again.
pub const ENDPOINT_CATCH_UP_TIME: Duration = Duration::from_millis(50);
/// How often endpoints are asked that do not have a block yet.
pub const ENDPOINT_CATCH_UP_TRIES: u32 = 20;
/// Events in one answer about more than one block.
pub const CHAIN_EVENTS_MAX: usize = 1_000;
/// Blocks that are asked about at once for events.
pub const CHAIN_EVENT_BLOCKS_MAX: u64 = 1_000;
/// Longest address or event of a filter.
pub const EVENT_FILTER_BYTES_MAX: usize = 512;
/// Blocks of a Cosmos chain in one answer: each is a question to the node.
pub const COSMOS_EVENT_BLOCKS_MAX: u64 = 16;
/// Transactions of a Solana account in one answer about more than one slot: each is a question to the endpoint.
pub const SOLANA_EVENT_TRANSACTIONS_MAX: usize = 100;
/// Lists of a Solana account's transactions that are read back to the slot that is asked about.
pub const SOLANA_EVENT_LISTS_MAX: usize = 100;

// Triggers.

/// Triggers of one agent.
pub const AGENT_TRIGGERS_MAX: usize = 16;
/// How often a trigger that has caught up looks for new final blocks, and one that waits whether it may go on.
pub const TRIGGER_POLL_TIME: Duration = Duration::from_secs(1);
/// Longest wait of a trigger after failures in a row; it doubles from `TRIGGER_POLL_TIME`.
pub const TRIGGER_RETRY_TIME_MAX: Duration = Duration::from_secs(30);
/// Sessions that a trigger starts at once.
pub const TRIGGER_SESSIONS_AT_ONCE: usize = 16;
/// Least time between two such times: with `TRIGGER_SESSIONS_AT_ONCE`, 32 sessions a second.
pub const TRIGGER_SESSIONS_TIME: Duration = Duration::from_millis(500);
/// Sessions of one trigger whose turns have not ended; it waits before it starts more.
pub const TRIGGER_SESSIONS_OPEN_MAX: usize = 64;
/// How often an event is tried whose session is refused for the event's own sake, before it is skipped: in all for longer
/// than a session is quarantined whose store was away.
pub const TRIGGER_TRIES_MAX: u32 = 8;
/// How long the place of a trigger that finds no events may stay unwritten; after a kill, it asks about them again.
pub const TRIGGER_SAVE_TIME: Duration = Duration::from_secs(10);
/// How often a trigger asks whether its chain is the same still, besides when the chain seems to have gone back.
pub const TRIGGER_CHAIN_TIME: Duration = Duration::from_secs(60);
/// Skipped events that are kept of one trigger: the newest.
pub const TRIGGER_SKIPPED_MAX: u64 = 100;
/// Skipped events that a list shows of each trigger.
pub const TRIGGER_SKIPPED_SHOWN: usize = 5;
/// Characters of a reason that a trigger keeps.
pub const TRIGGER_REASON_CHARS_MAX: usize = 300;

// The edge.

/// Largest gRPC or HTTP request.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Items on a page when the caller names no size.
pub const PAGE_ITEMS_DEFAULT: usize = 100;
/// Most items on a page.
pub const PAGE_ITEMS_MAX: usize = 1_000;
/// Longest idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// Longest label of an API key or session.
pub const KEY_LABEL_BYTES_MAX: usize = 63;
/// API keys of one project, the revoked ones included.
pub const PROJECT_KEYS_MAX: usize = 1_000;
/// Modules of one project.
pub const PROJECT_MODULES_MAX: usize = 256;
/// Agents of which it is said whether they have a project's module, and an older copy of it.
pub const MODULE_AGENTS_MAX: usize = 1_000;
/// Chains that anchor one project's receipts.
pub const PROJECT_CHAINS_MAX: usize = 8;
/// Pieces of a direct call's answer that wait for a slow client before the model waits too.
pub const DIRECT_EVENTS_MAX: usize = 64;
/// Sessions that one filtered page looks at before it answers with what it has.
pub const SESSIONS_FILTERED_MAX: usize = 10_000;
/// Approvals of one project that a list looks at.
pub const APPROVALS_MAX: usize = 10_000;
/// Longest direct model call; its hold is released by itself after twice this time.
pub const DIRECT_CALL_TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// Deadline of a request that waits for a turn's end and names none.
pub const TURN_WAIT_TIME_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Longest wait for connections to end when a server stops.
pub const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(10);
/// How often certificate files are read again, for certificates that were replaced.
pub const CERTIFICATE_READ_TIME: Duration = Duration::from_secs(10);
/// Longest time for a TLS handshake.
pub const TLS_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Least time between two looks at a watched actor.
pub const ACTOR_WATCH_TIME_MIN: Duration = Duration::from_millis(100);
/// Watchers of one session on one node.
pub const WATCHERS_MAX: usize = 100;
/// Requests in flight for one API key.
pub const KEY_REQUESTS_MAX: usize = 1_024;
/// Events kept for one session.
pub const SESSION_EVENTS_MAX: u64 = 1_000_000;

// Links between nodes.

/// Largest payload of one call over a link, and of its answer.
pub const LINK_PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// Bytes after which a batch of frames takes no more.
pub const LINK_BATCH_BYTES: usize = 64 << 10;
/// Bytes of waiting frames that go out although enough batches are under way.
pub const LINK_EAGER_BYTES: usize = 64 << 10;
/// Bytes that a link's task reads or sends before it lets others have their turn, those of the control lane among them.
pub const LINK_TURN_BYTES: usize = 256 << 10;
/// Batches of small frames under way at once; further frames wait and share the next batch.
pub const LINK_BATCHES_IN_FLIGHT_MAX: usize = 2;
/// Largest message that a peer may send over a link's connection.
pub const LINK_WIRE_BYTES_MAX: u64 = 16 << 20;
/// Calls that wait for credit or for a connection, to one peer on one lane.
pub const LINK_QUEUE_MESSAGES_MAX: usize = 4_096;
/// Bytes of calls that wait for credit or for a connection, to one peer on one lane.
pub const LINK_QUEUE_BYTES_MAX: usize = 32 << 20;
/// Calls that a node lets one peer have unfinished on one lane.
pub const LINK_CREDIT_MESSAGES: u64 = 1_024;
/// Bytes of calls that a node lets one peer have unfinished on one lane.
pub const LINK_CREDIT_BYTES: u64 = 16 << 20;
/// Frames that were sent to one peer on one lane and are not acknowledged.
pub const LINK_UNACKNOWLEDGED_FRAMES_MAX: usize = 2_048;
/// Bytes of frames that were sent to one peer on one lane and are not acknowledged.
pub const LINK_UNACKNOWLEDGED_BYTES_MAX: usize = 16 << 20;
/// Received batches of one connection that wait to be read; a peer that sends more is cut off.
pub const LINK_INBOX_BATCHES_MAX: usize = 8_192;
/// Handshakes of other nodes under way at once; a further connection is closed at once.
pub const LINK_HANDSHAKES_MAX: usize = 64;
/// Longest time from a TCP connection to a link that carries calls.
pub const LINK_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(3);
/// Longest message of a link's handshake.
pub const LINK_HELLO_BYTES_MAX: usize = 4 << 10;
/// Peers and lanes that one node accepts.
pub const LINK_CHANNELS_MAX: usize = 8_192;
/// How long both ends keep what was not acknowledged after a connection broke.
pub const LINK_RESUME_TIME_MAX: Duration = Duration::from_secs(15);
/// Time between two heartbeats on the control lane.
pub const LINK_HEARTBEAT_TIME: Duration = Duration::from_millis(200);
/// A peer that was not heard for this long is silent.
pub const LINK_SILENT_TIME: Duration = Duration::from_millis(800);
/// A control connection on which nothing was heard for this long is given up and dialled again.
pub const LINK_DEAD_TIME: Duration = Duration::from_secs(3);
/// A data connection on which nothing was heard for this long is given up and dialled again.
pub const LINK_DATA_DEAD_TIME: Duration = Duration::from_secs(10);
/// First bound of the random wait before a peer is dialled again; it doubles each time.
pub const LINK_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest wait before a peer is dialled again.
pub const LINK_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Answers to calls with a request id that are kept for a repetition.
pub const LINK_ANSWERS_KEPT_MAX: usize = 4_096;
/// Bytes of answers to calls with a request id that are kept for a repetition.
pub const LINK_ANSWERS_KEPT_BYTES_MAX: usize = 32 << 20;
/// Changes of peers that a slow watcher may lag behind before it misses some.
pub const LINK_EVENTS_MAX: usize = 1_024;
/// Longest that a node waits for a member to say who it is, and then to introduce it.
pub const INTRODUCTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Validity of a cluster's authority.
pub const AUTHORITY_TIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How much before now a certificate's validity begins, for clocks that differ.
pub const CERTIFICATE_SKEW: Duration = Duration::from_secs(3600);

// Operators.

/// How long one node has to answer a question that goes to every node; later it is named as missing.
pub const OPERATIONS_NODE_TIME_MAX: Duration = Duration::from_secs(2);
/// Nodes that one such question is with at once.
pub const OPERATIONS_NODES_AT_ONCE: usize = 64;
/// How long a drain may take when its operator says nothing else.
pub const DRAIN_TIME_DEFAULT: Duration = Duration::from_secs(60);
/// Longest arguments of an entry in the audit trail, as JSON; of longer ones the beginning is kept.
pub const AUDIT_ARGUMENTS_BYTES_MAX: usize = 16 * 1024;
/// Longest reason of a pause.
pub const PAUSE_REASON_BYTES_MAX: usize = 200;
/// Rows that the store's statistics count in one part of the store before they say "at least".
pub const STORE_STATS_ROWS_MAX: u64 = 100_000;
/// Rows of a fork's history, journal and events together.
pub const FORK_ROWS_MAX: usize = 20_000;
/// Bytes of a fork's history: it is copied in one transaction.
pub const FORK_BYTES_MAX: usize = 4 << 20;
/// Lines of one trace.
pub const TRACE_LINES_MAX: usize = 10_000;
/// Pending receipts of one project that the doctor looks at.
pub const DOCTOR_RECEIPTS_MAX: usize = 10_000;
/// Difference between two nodes' clocks beyond which the doctor warns.
pub const DOCTOR_CLOCK_DIFFERENCE_MAX: Duration = Duration::from_millis(500);
/// What is left of a certificate's time below which the doctor warns.
pub const DOCTOR_CERTIFICATE_TIME_MIN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Age of a receipt that waits for its log, or of an intent in an outbox, beyond which the doctor warns.
pub const DOCTOR_WAIT_TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// How busy the thread of a store's client may be before the doctor says so, in thousandths.
pub const DOCTOR_CLIENT_BUSY_PERMILLE_MAX: u32 = 900;
/// How long a read of the store may take before the doctor warns.
pub const DOCTOR_STORE_TIME_MAX: Duration = Duration::from_secs(1);
