// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import {IdentityRegistry} from "../src/IdentityRegistry.sol";
import {Test} from "./Test.sol";

/// A wallet that is a contract and consents to one message (ERC-1271).
contract Wallet {
    bytes32 public consentsTo;

    function consent(bytes32 digest) external {
        consentsTo = digest;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return digest == consentsTo ? this.isValidSignature.selector : bytes4(0);
    }
}

contract IdentityRegistryTest is Test {
    uint256 private constant KEY = 0xa11ce;
    address private constant STRANGER = address(0x0222);

    IdentityRegistry private identities = new IdentityRegistry();
    address private wallet = vm.addr(KEY);

    function setUp() public {
        vm.warp(1_000_000);
    }

    function test_an_agent_is_registered_in_each_of_the_three_ways() public {
        vm.expectEmit(address(identities));
        emit IdentityRegistry.Registered(1, "", address(this));
        vm.assertEq(identities.register(), 1);
        vm.expectEmit(address(identities));
        emit IdentityRegistry.Registered(2, "ipfs://file", address(this));
        vm.assertEq(identities.register("ipfs://file"), 2);
        vm.assertEq(identities.tokenURI(2), "ipfs://file");
        IdentityRegistry.MetadataEntry[] memory entries = new IdentityRegistry.MetadataEntry[](1);
        entries[0] = IdentityRegistry.MetadataEntry("name", "agent three");
        uint256 agent = identities.register("ipfs://three", entries);
        vm.assertEq(identities.getMetadata(agent, "name"), "agent three");
        vm.assertEq(identities.ownerOf(agent), address(this));
        vm.assertEq(identities.getAgentWallet(agent), address(this));
        vm.assertEq(identities.getMetadata(agent, "agentWallet"), abi.encodePacked(address(this)));
        entries[0].metadataKey = "agentWallet";
        vm.expectRevert(abi.encodeWithSelector(IdentityRegistry.KeyReserved.selector, "agentWallet"));
        identities.register("", entries);
    }

    function test_owner_and_operators_change_an_agent_and_nobody_else() public {
        uint256 agent = identities.register();
        bytes memory refused = abi.encodeWithSelector(IdentityRegistry.NotAllowed.selector, STRANGER, agent);
        vm.startPrank(STRANGER);
        vm.expectRevert(refused);
        identities.setAgentURI(agent, "x");
        vm.expectRevert(refused);
        identities.setMetadata(agent, "k", "v");
        vm.expectRevert(refused);
        identities.unsetAgentWallet(agent);
        vm.expectRevert(refused);
        identities.setAgentWallet(agent, STRANGER, block.timestamp, "");
        vm.stopPrank();
        identities.approve(STRANGER, agent);
        vm.startPrank(STRANGER);
        identities.setAgentURI(agent, "x");
        identities.setMetadata(agent, "k", "v");
        vm.stopPrank();
        vm.assertEq(identities.tokenURI(agent), "x");
        vm.expectRevert(abi.encodeWithSelector(IdentityRegistry.KeyReserved.selector, "agentWallet"));
        identities.setMetadata(agent, "agentWallet", "v");
    }

    function test_a_wallet_needs_its_own_consent_in_time() public {
        uint256 agent = identities.register();
        uint256 deadline = block.timestamp + 5 minutes;
        bytes memory signature = sign(agent, deadline);
        vm.expectRevert(abi.encodeWithSelector(IdentityRegistry.ConsentInvalid.selector, STRANGER));
        identities.setAgentWallet(agent, STRANGER, deadline, signature);
        vm.expectRevert(abi.encodeWithSelector(IdentityRegistry.ConsentInvalid.selector, wallet));
        identities.setAgentWallet(agent, wallet, deadline - 1, signature);
        bytes memory farSignature = sign(agent, deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IdentityRegistry.ConsentOutOfTime.selector, deadline + 1));
        identities.setAgentWallet(agent, wallet, deadline + 1, farSignature);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IdentityRegistry.ConsentOutOfTime.selector, deadline));
        identities.setAgentWallet(agent, wallet, deadline, signature);
        vm.warp(deadline);
        identities.setAgentWallet(agent, wallet, deadline, signature);
        vm.assertEq(identities.getAgentWallet(agent), wallet);
        identities.unsetAgentWallet(agent);
        vm.assertEq(identities.getAgentWallet(agent), address(0));
    }

    function test_a_contract_consents_by_erc1271() public {
        uint256 agent = identities.register();
        Wallet contractWallet = new Wallet();
        bytes memory refused = abi.encodeWithSelector(IdentityRegistry.ConsentInvalid.selector, address(contractWallet));
        vm.expectRevert(refused);
        identities.setAgentWallet(agent, address(contractWallet), block.timestamp, "");
        contractWallet.consent(digest(agent, address(contractWallet), block.timestamp));
        identities.setAgentWallet(agent, address(contractWallet), block.timestamp, "");
        vm.assertEq(identities.getAgentWallet(agent), address(contractWallet));
    }

    function test_a_wallet_does_not_go_with_the_agent() public {
        uint256 agent = identities.register();
        identities.transferFrom(address(this), STRANGER, agent);
        vm.assertEq(identities.getAgentWallet(agent), address(0));
        vm.assertEq(identities.getMetadata(agent, "agentWallet"), "");
        // A consent is to the owner of the time: it does not serve the next one.
        bytes memory signature = sign(agent, block.timestamp);
        vm.prank(STRANGER);
        identities.transferFrom(STRANGER, address(this), agent);
        vm.expectRevert(abi.encodeWithSelector(IdentityRegistry.ConsentInvalid.selector, wallet));
        identities.setAgentWallet(agent, wallet, block.timestamp, signature);
    }

    function test_an_agent_that_is_not_there_has_no_wallet() public {
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 7));
        identities.getAgentWallet(7);
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 7));
        identities.isAuthorizedOrOwner(address(this), 7);
    }

    function testFuzz_agents_are_numbered_one_after_the_other(uint8 count) public {
        for (uint256 i = 1; i <= count % 16; i++) {
            vm.assertEq(identities.register(), i);
        }
    }

    function sign(uint256 agent, uint256 deadline) private view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, digest(agent, wallet, deadline));
        return abi.encodePacked(r, s, v);
    }

    /// EIP-712, written out.
    function digest(uint256 agent, address to, uint256 deadline) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("ERC8004IdentityRegistry"),
                keccak256("1"),
                block.chainid,
                address(identities)
            )
        );
        bytes32 message = keccak256(
            abi.encode(
                keccak256("AgentWalletSet(uint256 agentId,address newWallet,address owner,uint256 deadline)"),
                agent,
                to,
                identities.ownerOf(agent),
                deadline
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, message));
    }
}
