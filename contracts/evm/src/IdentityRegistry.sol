// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721URIStorage} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721URIStorage.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// Agents' identities after ERC-8004 (revision of January 2026): each agent is an ERC-721 token whose URI leads to its
/// registration file.
///
/// Nobody owns the registry, nothing stops it, and it holds no tokens but its own. The ERC's own singletons are
/// upgradeable; this one is for chains that have none, and for those who do not want that.
contract IdentityRegistry is ERC721URIStorage, EIP712 {
    /// The key that only `setAgentWallet` sets, since it takes the wallet's consent.
    string private constant WALLET_KEY = "agentWallet";
    bytes32 private constant WALLET_TYPE =
        keccak256("AgentWalletSet(uint256 agentId,address newWallet,address owner,uint256 deadline)");
    /// How far ahead a wallet's consent may reach.
    uint256 public constant CONSENT_TIME_MAX = 5 minutes;

    struct MetadataEntry {
        string metadataKey;
        bytes metadataValue;
    }

    uint256 private lastAgent;
    mapping(uint256 agentId => mapping(string metadataKey => bytes)) private metadata;

    event Registered(uint256 indexed agentId, string agentURI, address indexed owner);
    event MetadataSet(
        uint256 indexed agentId, string indexed indexedMetadataKey, string metadataKey, bytes metadataValue
    );
    event URIUpdated(uint256 indexed agentId, string newURI, address indexed updatedBy);

    /// The caller neither owns the agent nor acts for its owner.
    error NotAllowed(address caller, uint256 agentId);
    /// The key has a function of its own.
    error KeyReserved(string metadataKey);
    /// The consent is over, or reaches too far ahead.
    error ConsentOutOfTime(uint256 deadline);
    /// The wallet did not consent.
    error ConsentInvalid(address wallet);

    modifier onlyAuthorized(uint256 agentId) {
        if (!isAuthorizedOrOwner(msg.sender, agentId)) revert NotAllowed(msg.sender, agentId);
        _;
    }

    constructor() ERC721("AgentIdentity", "AGENT") EIP712("ERC8004IdentityRegistry", "1") {}

    /// Registers an agent of the caller's. Its URI can be set later.
    function register() external returns (uint256 agentId) {
        agentId = mint("");
    }

    /// Registers an agent of the caller's whose registration file is at this URI.
    function register(string calldata agentURI) external returns (uint256 agentId) {
        agentId = mint(agentURI);
    }

    /// Registers an agent with metadata.
    function register(string calldata agentURI, MetadataEntry[] calldata entries) external returns (uint256 agentId) {
        agentId = mint(agentURI);
        for (uint256 i = 0; i < entries.length; i++) {
            requireFree(entries[i].metadataKey);
            set(agentId, entries[i].metadataKey, entries[i].metadataValue);
        }
    }

    /// Moves the registration file.
    function setAgentURI(uint256 agentId, string calldata newURI) external onlyAuthorized(agentId) {
        _setTokenURI(agentId, newURI);
        emit URIUpdated(agentId, newURI, msg.sender);
    }

    /// Sets what contracts may want to know of an agent.
    function setMetadata(uint256 agentId, string calldata metadataKey, bytes calldata metadataValue)
        external
        onlyAuthorized(agentId)
    {
        requireFree(metadataKey);
        set(agentId, metadataKey, metadataValue);
    }

    /// Names the address where the agent is paid, with that address's consent: its signature (EIP-712, or ERC-1271 of
    /// a contract) over the agent, itself, the agent's owner and a deadline at most five minutes ahead.
    function setAgentWallet(uint256 agentId, address newWallet, uint256 deadline, bytes calldata signature)
        external
        onlyAuthorized(agentId)
    {
        if (block.timestamp > deadline || deadline > block.timestamp + CONSENT_TIME_MAX) {
            revert ConsentOutOfTime(deadline);
        }
        bytes32 message = keccak256(abi.encode(WALLET_TYPE, agentId, newWallet, ownerOf(agentId), deadline));
        if (!SignatureChecker.isValidSignatureNow(newWallet, _hashTypedDataV4(message), signature)) {
            revert ConsentInvalid(newWallet);
        }
        set(agentId, WALLET_KEY, abi.encodePacked(newWallet));
    }

    /// The agent is paid nowhere for now.
    function unsetAgentWallet(uint256 agentId) external onlyAuthorized(agentId) {
        set(agentId, WALLET_KEY, "");
    }

    /// What is known of an agent under a key; nothing when it was not set.
    function getMetadata(uint256 agentId, string calldata metadataKey) external view returns (bytes memory) {
        return metadata[agentId][metadataKey];
    }

    /// Where an agent is paid; zero: nowhere.
    function getAgentWallet(uint256 agentId) external view returns (address) {
        _requireOwned(agentId);
        return address(bytes20(metadata[agentId][WALLET_KEY]));
    }

    /// Whether this account owns the agent or acts for its owner.
    function isAuthorizedOrOwner(address spender, uint256 agentId) public view returns (bool) {
        return _isAuthorized(_requireOwned(agentId), spender, agentId);
    }

    /// A new owner is not paid at the old owner's wallet.
    function _update(address to, uint256 agentId, address auth) internal override returns (address from) {
        from = super._update(to, agentId, auth);
        if (from != address(0)) set(agentId, WALLET_KEY, "");
    }

    function mint(string memory agentURI) private returns (uint256 agentId) {
        agentId = ++lastAgent;
        _mint(msg.sender, agentId);
        if (bytes(agentURI).length > 0) _setTokenURI(agentId, agentURI);
        emit Registered(agentId, agentURI, msg.sender);
        set(agentId, WALLET_KEY, abi.encodePacked(msg.sender));
    }

    function set(uint256 agentId, string memory metadataKey, bytes memory metadataValue) private {
        metadata[agentId][metadataKey] = metadataValue;
        emit MetadataSet(agentId, metadataKey, metadataKey, metadataValue);
    }

    function requireFree(string calldata metadataKey) private pure {
        if (keccak256(bytes(metadataKey)) == keccak256(bytes(WALLET_KEY))) revert KeyReserved(metadataKey);
    }
}
