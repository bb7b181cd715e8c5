//! The tree against a direct transcription of RFC 9162's definition, for every size up to 200.

use proptest::prelude::*;

use super::*;

const SIZE_MAX: u64 = 200;

/// MTH of RFC 9162, section 2.1.1, written as it is defined there.
fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of_empty_tree(),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            Hash::of_children(&tree_hash(&leaves[..k]), &tree_hash(&leaves[k..]))
        }
    }
}

/// PATH of RFC 9162, section 2.1.3.1.
fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut hashes, other) = if m < k {
        (path(m, &leaves[..k]), tree_hash(&leaves[k..]))
    } else {
        (path(m - k, &leaves[k..]), tree_hash(&leaves[..k]))
    };
    hashes.push(other);
    hashes
}

/// SUBPROOF of RFC 9162, section 2.1.4.1.
fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![tree_hash(leaves)] };
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut hashes, other) = if m <= k {
        (subproof(m, &leaves[..k], whole), tree_hash(&leaves[k..]))
    } else {
        (subproof(m - k, &leaves[k..], false), tree_hash(&leaves[..k]))
    };
    hashes.push(other);
    hashes
}

struct Log {
    leaves: Vec<Hash>,
    nodes: BTreeMap<NodeId, Hash>,
    roots: Vec<Hash>,
}

fn log(size: u64) -> Log {
    let mut frontier = Frontier::new();
    let mut log = Log { leaves: Vec::new(), nodes: BTreeMap::new(), roots: vec![frontier.root()] };
    for number in 0..size {
        let leaf = Hash::of_leaf(&number.to_be_bytes());
        let index = frontier.append(leaf, |id, hash| assert!(log.nodes.insert(id, hash).is_none()));
        assert_eq!(index, number);
        log.leaves.push(leaf);
        log.roots.push(frontier.root());
    }
    log
}

#[test]
fn appending_gives_the_roots_of_the_definition() {
    let log = log(SIZE_MAX);
    for (size, root) in log.roots.iter().enumerate() {
        assert_eq!(*root, tree_hash(&log.leaves[..size]), "size {size}");
        assert_eq!(root_at(size as u64, &log.nodes), Ok(*root));
    }
}

#[test]
fn every_leaf_of_every_size_is_proven_as_the_definition_says() {
    let log = log(SIZE_MAX);
    for size in 1..=SIZE_MAX {
        let (leaves, root) = (&log.leaves[..size as usize], log.roots[size as usize]);
        for index in 0..size {
            let found = inclusion_path(index, size, &log.nodes).unwrap();
            let leaf = leaves[index as usize];
            assert_eq!(found, path(index as usize, leaves), "leaf {index} of {size}");
            assert_eq!(verify_inclusion(leaf, index, size, &found, root), Ok(()));
            let needed: BTreeMap<_, _> =
                inclusion_nodes(index, size).unwrap().into_iter().map(|id| (id, log.nodes[&id])).collect();
            assert_eq!(inclusion_path(index, size, &needed), Ok(found));
        }
    }
}

#[test]
fn every_pair_of_sizes_is_proven_consistent_as_the_definition_says() {
    let log = log(SIZE_MAX);
    for new_size in 1..=SIZE_MAX {
        for old_size in 0..=new_size {
            let found = consistency_path(old_size, new_size, &log.nodes).unwrap();
            if old_size > 0 {
                let expected = subproof(old_size as usize, &log.leaves[..new_size as usize], true);
                assert_eq!(found, expected, "{old_size} to {new_size}");
            }
            let old = (old_size, log.roots[old_size as usize]);
            let new = (new_size, log.roots[new_size as usize]);
            assert_eq!(verify_consistency(old, new, &found), Ok(()), "{old_size} to {new_size}");
            let needed = consistency_nodes(old_size, new_size).unwrap();
            assert!(needed.iter().all(|id| log.nodes.contains_key(id)));
        }
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    let log = log(5);
    assert_eq!(inclusion_path(5, 5, &log.nodes), Err(MerkleError::IndexOutOfRange { index: 5, size: 5 }));
    assert_eq!(inclusion_path(0, 0, &log.nodes), Err(MerkleError::IndexOutOfRange { index: 0, size: 0 }));
    assert_eq!(consistency_path(6, 5, &log.nodes), Err(MerkleError::Shrunk { old_size: 6, new_size: 5 }));
    assert_eq!(root_at(6, &log.nodes), Err(MerkleError::NodeMissing { level: 1, index: 2 }));
    assert_eq!(
        Frontier::from_parts(3, vec![Hash::default()]),
        Err(MerkleError::FrontierMalformed { size: 3, peaks: 1 })
    );
}

#[test]
fn a_frontier_survives_serialization_and_goes_on() {
    let log = log(7);
    let mut frontier = Frontier::new();
    for leaf in &log.leaves {
        let json = serde_json::to_string(&frontier).unwrap();
        frontier = serde_json::from_str(&json).unwrap();
        frontier.append(*leaf, |_, _| ());
    }
    assert_eq!(frontier.root(), log.roots[7]);
    assert!(serde_json::from_str::<Frontier>(r#"{"size":1,"peaks":[]}"#).is_err());
}

proptest! {
    #[test]
    fn a_tampered_inclusion_proof_fails(
        size in 2..=SIZE_MAX, index: prop::sample::Index, at: prop::sample::Index, bit in 0..256usize,
    ) {
        let log = log(size);
        let index = index.index(size as usize) as u64;
        let (leaf, root) = (log.leaves[index as usize], log.roots[size as usize]);
        let path = inclusion_path(index, size, &log.nodes).unwrap();
        let flip = |hash: Hash| {
            let mut bytes = *hash.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            Hash::from_bytes(bytes)
        };
        let mut wrong = path.clone();
        let at = at.index(path.len());
        wrong[at] = flip(wrong[at]);
        prop_assert!(verify_inclusion(leaf, index, size, &wrong, root).is_err());
        prop_assert!(verify_inclusion(flip(leaf), index, size, &path, root).is_err());
        prop_assert!(verify_inclusion(leaf, index, size, &path, flip(root)).is_err());
        prop_assert!(verify_inclusion(leaf, index, size, &path[1..], root).is_err());
        let longer = [path.as_slice(), &[root]].concat();
        prop_assert!(verify_inclusion(leaf, index, size, &longer, root).is_err());
        for other in (0..size).filter(|other| *other != index) {
            prop_assert!(verify_inclusion(leaf, other, size, &path, root).is_err());
        }
    }

    #[test]
    fn a_tampered_consistency_proof_fails(
        new_size in 2..=SIZE_MAX, old: prop::sample::Index, at: prop::sample::Index, bit in 0..256usize,
    ) {
        let log = log(new_size);
        let old_size = 1 + old.index(new_size as usize - 1) as u64;
        let (old, new) = ((old_size, log.roots[old_size as usize]), (new_size, log.roots[new_size as usize]));
        let path = consistency_path(old_size, new_size, &log.nodes).unwrap();
        let flip = |hash: Hash| {
            let mut bytes = *hash.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            Hash::from_bytes(bytes)
        };
        let mut wrong = path.clone();
        let at = at.index(path.len());
        wrong[at] = flip(wrong[at]);
        prop_assert!(verify_consistency(old, new, &wrong).is_err());
        prop_assert!(verify_consistency((old.0, flip(old.1)), new, &path).is_err());
        prop_assert!(verify_consistency(old, (new.0, flip(new.1)), &path).is_err());
        prop_assert!(verify_consistency(old, new, &path[1..]).is_err());
    }

    #[test]
    fn arbitrary_claims_never_panic(index: u64, size: u64, old: u64, path in prop::collection::vec(any::<[u8; 32]>(), 0..70)) {
        let path: Vec<Hash> = path.into_iter().map(Hash::from_bytes).collect();
        let hash = Hash::default();
        prop_assert!(verify_inclusion(hash, index, size, &path, hash).is_err());
        let _ = verify_consistency((old, hash), (size, hash), &path);
    }
}
