"""Who a member is: keys, certificates, roster, kit."""
