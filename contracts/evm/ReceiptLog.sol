// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// Anchors the roots of receipt logs (RFC 9162 trees with SHA-256) and verifies inclusion proofs against them.
///
/// A log is named by the SHA-256 of its origin. Its size never shrinks, and a size never has two roots. There is no
/// upgrade, no pause and no way to take an anchor back.
contract ReceiptLog {
    /// The newest anchored state of a log.
    struct Head {
        bytes32 root;
        uint64 treeSize;
        uint64 blockNumber;
    }

    /// Who may name the anchorer.
    address public owner;
    /// Who may anchor, beside the owner.
    address public anchorer;

    mapping(bytes32 logId => Head) private heads;

    event Anchored(bytes32 indexed logId, uint64 indexed treeSize, bytes32 root);
    event OwnerChanged(address indexed from, address indexed to);
    event AnchorerChanged(address indexed from, address indexed to);

    /// The caller may not do this.
    error NotAllowed(address caller);
    /// The log is larger already.
    error TreeShrunk(uint64 anchoredSize, uint64 treeSize);
    /// The log has another root at this size.
    error RootConflict(uint64 treeSize, bytes32 anchoredRoot, bytes32 root);
    /// A tree without leaves has nothing to anchor.
    error TreeEmpty();
    /// Address zero owns nothing.
    error OwnerZero();

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotAllowed(msg.sender);
        _;
    }

    constructor() {
        owner = msg.sender;
        anchorer = msg.sender;
        emit OwnerChanged(address(0), msg.sender);
        emit AnchorerChanged(address(0), msg.sender);
    }

    /// Puts a log's size and root on the chain. Anchoring the head again changes nothing and emits nothing, so that a
    /// transaction sent twice does no harm.
    function anchor(bytes32 logId, uint64 treeSize, bytes32 root) external {
        if (msg.sender != anchorer && msg.sender != owner) revert NotAllowed(msg.sender);
        if (treeSize == 0) revert TreeEmpty();
        Head storage head = heads[logId];
        uint64 anchoredSize = head.treeSize;
        if (treeSize < anchoredSize) revert TreeShrunk(anchoredSize, treeSize);
        if (treeSize == anchoredSize) {
            if (root != head.root) revert RootConflict(treeSize, head.root, root);
            return;
        }
        head.root = root;
        head.treeSize = treeSize;
        head.blockNumber = uint64(block.number);
        emit Anchored(logId, treeSize, root);
    }

    /// A log's newest anchored size and root and the block that anchored them; zeros when there is none.
    function headOf(bytes32 logId) external view returns (uint64 treeSize, bytes32 root, uint64 blockNumber) {
        Head storage head = heads[logId];
        return (head.treeSize, head.root, head.blockNumber);
    }

    /// Whether the leaf with this hash is number `index` in the log's newest anchored tree.
    function verify(bytes32 logId, bytes32 leafHash, uint64 index, bytes32[] calldata path)
        external
        view
        returns (bool)
    {
        Head storage head = heads[logId];
        return verifyAt(head.root, head.treeSize, leafHash, index, path);
    }

    /// Whether the leaf with this hash is number `index` in the tree of this size and root: RFC 9162, section 2.1.3.2.
    function verifyAt(bytes32 root, uint64 treeSize, bytes32 leafHash, uint64 index, bytes32[] calldata path)
        public
        pure
        returns (bool)
    {
        if (index >= treeSize) return false;
        uint64 node = index;
        uint64 last = treeSize - 1;
        bytes32 hash = leafHash;
        for (uint256 i = 0; i < path.length; i++) {
            if (last == 0) return false;
            if (node & 1 == 1 || node == last) {
                hash = hashChildren(path[i], hash);
                while (node & 1 == 0 && node != 0) {
                    node >>= 1;
                    last >>= 1;
                }
            } else {
                hash = hashChildren(hash, path[i]);
            }
            node >>= 1;
            last >>= 1;
        }
        return last == 0 && hash == root;
    }

    /// Names who may anchor.
    function setAnchorer(address to) external onlyOwner {
        emit AnchorerChanged(anchorer, to);
        anchorer = to;
    }

    /// Gives the contract away.
    function setOwner(address to) external onlyOwner {
        if (to == address(0)) revert OwnerZero();
        emit OwnerChanged(owner, to);
        owner = to;
    }

    function hashChildren(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }
}
